"""How big a network is: multiply–accumulates (MACs) and parameters, as a closed form of the kept channels.

A tensor axis of original size s, on which a channel of group g stands at m_g positions, has the size
``s - Σ_g m_g · (removed channels of g)``: an affine function of the kept counts. A tensor's elements are the
product of its axes, a layer's MACs are the product of the sizes that its operation multiplies, so the whole
cost is one polynomial in the counts. :class:`CostModel` stores it as three small arrays and evaluates it in
microseconds, for one vector of counts or for thousands.

**What is counted.** One MAC per multiplication with a weight in convolutions, transposed convolutions and
linear layers, and per multiplication in products of two activations (attention), for **one** sample. A weight
that is expanded or mixed from others counts as it is used. FLOPs are 2 × MACs.

**What is not counted.** Biases, normalization, activations, pooling, additions, resizing, products of weights
with weights (they can be taken once, before any sample) – and time: two
layers with equal MACs can differ in latency by an order of magnitude.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from torch import nn

from convslim.channels.graph import ChannelCount, ChannelGraph
from convslim.channels.tape import ExampleInput
from convslim.channels.trace import trace
from convslim.errors import PlanError, nearest

METRICS: Final = ("macs", "params")
"""What :meth:`CostModel.evaluate` returns, in this order."""

Counts = npt.NDArray[np.int64]
Width = tuple[int, tuple[tuple[int, int], ...]]
"""A size: what is fixed, and pairs of a group's number and the positions that each of its channels accounts for."""


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs.

    Attributes:
        module: Dotted module name; empty for the model itself.
        operation: The counted operation, for example ``aten.convolution``; empty for a layer without MACs.
        macs: MACs of all its uses in one forward pass of one sample.
        params: Its own parameters; a weight shared by several layers counts where it is used first.
        weight_shape: Shape of the weight, for example ``(C_out, C_in / groups, kH, kW)``; empty without a
            weight.
    """

    module: str
    operation: str
    macs: int
    params: int
    weight_shape: tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    """What a network costs; both totals are the sums over ``layers``."""

    macs: int
    params: int
    layers: tuple[LayerCost, ...]


def cost(model: nn.Module, example_input: ExampleInput) -> Cost:
    """Count MACs and parameters of a model, layer by layer.

    Args:
        model: Any traceable model; it is left as found.
        example_input: What the model takes, with a batch of one sample.

    Returns:
        The totals and one row per layer; see the module's text for what counts.

    Raises:
        ModelError: If the model cannot be run with that input.

    >>> import torch
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    >>> total = cost(net, torch.zeros(1, 3, 10, 10))
    >>> total.macs == 100 * (8 * 3 * 9 + 4 * 8), total.params == (8 * 27 + 8) + (4 * 8 + 4)
    (True, True)
    """
    return layer_costs(trace(model, example_input, ways=("class",)))


def layer_costs(graph: ChannelGraph) -> Cost:
    """The cost of a traced model with all its channels, see :func:`cost`."""
    rows: dict[tuple[str, str], LayerCost] = {}
    counted: set[str] = set()

    def add(module: str, operation: str, macs: int, weight: str | None, tensors: Iterable[str]) -> None:
        new = [name for name in tensors if name in graph.parameters and name not in counted]
        counted.update(new)
        old = rows.get((module, operation), LayerCost(module, operation, 0, 0, ()))
        params = old.params + sum(_numel(graph.tensors[name]) for name in new)
        shape = old.weight_shape or (graph.tensors[weight] if weight else ())
        rows[module, operation] = LayerCost(module, operation, old.macs + macs, params, shape)

    owned: dict[str, list[str]] = {}
    for name in graph.tensors:
        owned.setdefault(name.rpartition(".")[0], []).append(name)
    for call in graph.calls:
        weights = (call.weight,) if call.weight else ()
        add(call.module, call.operation, call.macs(), call.weight, weights)
    main_row: dict[str, tuple[str, str]] = {}
    for key in rows:
        main_row.setdefault(key[0], key)
    for module, tensors in owned.items():
        if any(name in graph.parameters and name not in counted for name in tensors):
            add(*main_row.get(module, (module, "")), 0, None, tensors)
    layers = tuple(rows.values())
    return Cost(sum(row.macs for row in layers), sum(row.params for row in layers), layers)


class CostModel:
    """MACs and parameters of a network as an exact function of the kept channels per group.

    Attributes:
        names: Group names; position ``g`` of a count vector belongs to ``names[g]``.
        sizes: The original number of channels per group, shape ``(num_groups,)``.

    The cost is ``Σ_t c_t · Π_j w_{r(t,j)}`` over terms t, with widths ``w = A k + b`` and kept counts ``k``;
    equal widths and equal products of widths are stored once.

    >>> import torch
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    >>> model = CostModel(trace(net, torch.zeros(1, 3, 10, 10)))
    >>> model.macs({"0": 6}) == 100 * (6 * 3 * 9 + 4 * 6)
    True
    >>> model.params({"0": 6}) == (6 * 27 + 6) + (4 * 6 + 4)
    True
    """

    def __init__(self, graph: ChannelGraph) -> None:
        self.names: tuple[str, ...] = tuple(group.name for group in graph.groups)
        self.sizes: Counts = np.array([group.num_channels for group in graph.groups], np.int64)
        self._number = {name: position for position, name in enumerate(self.names)}
        widths: dict[Width, int] = {(1, ()): 0}
        terms: dict[tuple[int, ...], Counts] = {}

        def add(sizes: Iterable[Width], times: int, metric: int) -> None:
            factors = []
            for fixed, held in sizes:
                if held:
                    factors.append(widths.setdefault((fixed, held), len(widths)))
                else:
                    times *= fixed
            coefficients = terms.setdefault(tuple(sorted(factors)), np.zeros(len(METRICS), np.int64))
            coefficients[metric] += times

        for call in graph.calls:
            add(map(self._width, call.widths), call.positions, METRICS.index("macs"))
        axes = self._axes(graph)
        for name in graph.parameters:
            sizes = (self._axis(size, axes.get((name, dim), {})) for dim, size in enumerate(graph.tensors[name]))
            add(sizes, 1, METRICS.index("params"))
        self._build(widths, terms)

    def _width(self, count: ChannelCount) -> Width:
        """A size of a layer. What a channel accounts for beyond the others of its group counts as fixed."""
        held = sorted((self._number[group], int(times.min()), int(times.sum())) for group, times in count.times.items())
        extra = sum(total - times * int(self.sizes[group]) for group, times, total in held)
        return count.fixed + extra, tuple((group, times) for group, times, _ in held if times)

    def _axis(self, size: int, held: Mapping[int, int]) -> Width:
        """The size of a tensor's axis."""
        return size - sum(times * int(self.sizes[group]) for group, times in held.items()), tuple(sorted(held.items()))

    def _axes(self, graph: ChannelGraph) -> dict[tuple[str, int], dict[int, int]]:
        """For every axis that carries channels: positions per channel of each group on it."""
        axes: dict[tuple[str, int], dict[int, int]] = {}
        for number, group in enumerate(graph.groups):
            for axis in group.axes:
                held = axes.setdefault((axis.tensor, axis.dim), {})
                held[number] = held.get(number, 0) + axis.index.shape[1]
        return axes

    def _build(
        self,
        widths: Mapping[Width, int],
        terms: Mapping[tuple[int, ...], Counts],
    ) -> None:
        self._offset = np.array([fixed for fixed, _ in widths], np.int64)
        entries = [(width, *each) for (_, held), width in widths.items() for each in held]
        rows, columns, values = np.array(entries, np.int64).reshape(-1, 3).T
        self._slope = csr_array((values, (rows, columns)), shape=(len(widths), len(self.names)))
        rank = max((len(factors) for factors in terms), default=0)
        padded = [factors + (0,) * (rank - len(factors)) for factors in terms]
        self._factors = np.array(padded, np.intp).reshape(len(terms), rank).T
        self._coefficients = np.array(list(terms.values()), np.int64).reshape(len(terms), len(METRICS))

    def evaluate(self, counts: npt.NDArray[np.integer]) -> Counts:
        """Cost of one or many vectors of kept counts.

        Args:
            counts: Kept channels per group, shape ``(..., num_groups)``, in the order of ``names``. Not
                validated.

        Returns:
            Shape ``(..., 2)``: MACs and parameters, see :data:`METRICS`.
        """
        rows = np.asarray(counts, np.int64).reshape(-1, len(self.names))
        widths = ((self._slope @ rows.T).T + self._offset).reshape(*counts.shape[:-1], len(self._offset))
        product = np.ones((*counts.shape[:-1], len(self._coefficients)), np.int64)
        for factor in self._factors:
            product *= widths[..., factor]
        return product @ self._coefficients

    def counts(self, kept: Mapping[str, int] | None = None) -> Counts:
        """The count vector of a mapping; groups that are not named keep all.

        Raises:
            PlanError: For an unknown group, or a count that the group cannot have.
        """
        counts = self.sizes.copy()
        for name, count in (kept or {}).items():
            group = self._number.get(name)
            if group is None:
                raise PlanError(f"The model has no channel group {name!r}.{nearest(name, self.names)}")
            if not 0 <= count <= self.sizes[group]:
                raise PlanError(
                    f"Group {name!r} has {self.sizes[group]} channels and cannot keep {count}; "
                    f"give a count from 0 to {self.sizes[group]}."
                )
            counts[group] = count
        return counts

    def macs(self, kept: Mapping[str, int] | None = None) -> int:
        """MACs of one sample when the named groups keep so many channels.

        Raises:
            PlanError: For an unknown group, or a count that the group cannot have.
        """
        return int(self.evaluate(self.counts(kept))[METRICS.index("macs")])

    def params(self, kept: Mapping[str, int] | None = None) -> int:
        """Parameters when the named groups keep so many channels.

        Raises:
            PlanError: For an unknown group, or a count that the group cannot have.
        """
        return int(self.evaluate(self.counts(kept))[METRICS.index("params")])


def _numel(shape: Iterable[int]) -> int:
    """Number of elements, as an exact Python integer."""
    elements = 1
    for size in shape:
        elements *= size
    return elements
