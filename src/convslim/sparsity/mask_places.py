"""Where a coefficient per channel takes hold: the tensors that are multiplied so that a channel is multiplied.

A coefficient belongs behind the last normalization of its channel, since a normalization takes every scale before it
away: m·BN(x) is a BatchNorm with the scale m·γ and the shift m·β. Channels that no normalization follows are scaled
where they are made, in the filters and the bias. Which tensors these are is read off the recorded pass: for every
layer that reads a group, the tensors that the read values come from last.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convslim.channels.graph import ChannelGraph, ChannelGroup
from convslim.channels.labeler import Labeler
from convslim.channels.tape import OpCall, Tape, TensorRef
from convslim.channels.values import Axes
from convslim.errors import ModelError

Sources = frozenset[str]
_NOWHERE = "?"  # stands for values that no tensor of the model can set to zero
_NEVER_ZERO = frozenset({"sigmoid", "hardsigmoid", "exp", "softplus", "log_sigmoid_forward", "cos"})


@dataclass(frozen=True, eq=False)
class ScaledTensor:
    """One tensor that coefficients multiply.

    Attributes:
        name: Dotted name of the parameter.
        dim: The dimension that carries the channels.
        number: For every position along it the number of its coefficient, -1 for none; shape ``(size,)``.
    """

    name: str
    dim: int
    number: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MaskPlaces:
    """One coefficient per channel of every group, in one line, and what they multiply.

    Attributes:
        groups: Names of the groups that get coefficients.
        sizes: Channels of each.
        tensors: What is multiplied.
        left: Pairs of a prunable group that gets none and the reason.
    """

    groups: tuple[str, ...]
    sizes: tuple[int, ...]
    tensors: tuple[ScaledTensor, ...]
    left: tuple[tuple[str, str], ...]

    @property
    def total(self) -> int:
        """Number of coefficients."""
        return sum(self.sizes)

    def slices(self) -> dict[str, slice]:
        """Each group's part of the line."""
        ends = np.cumsum(self.sizes).tolist()
        return {name: slice(end - size, end) for name, size, end in zip(self.groups, self.sizes, ends, strict=True)}


def mask_places(graph: ChannelGraph, without: Iterable[str] = ()) -> MaskPlaces:
    """Find the tensors that a coefficient per channel multiplies, for every prunable group.

    Args:
        graph: A trace.
        without: Names of groups that get no coefficients.

    Raises:
        ModelError: If no group can have coefficients.

    Example:
        >>> import torch, convslim
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Conv2d(8, 4, 1))
        >>> [(scaled.name, scaled.dim) for scaled in mask_places(convslim.trace(net, torch.zeros(1, 3, 8, 8))).tensors]
        [('1.bias', 0), ('1.weight', 0)]
    """
    assert graph.evidence is not None, "a traced graph has evidence"
    unwanted = set(without)
    wanted = [group for group in graph.prunable if group.name not in unwanted]
    found = _Tracking(graph.evidence.tape, graph.evidence.labeler, wanted).sources()
    reasons = {group.name: _reason(found.get(number, frozenset())) for number, group in enumerate(wanted)}
    chosen = [(number, group) for number, group in enumerate(wanted) if not reasons[group.name]]
    if not chosen:
        raise ModelError(
            f"No group of channels can have coefficients: {len(wanted)} are prunable and not left out"
            f"{', but ' + next(iter(reasons.values())) if reasons else ''}. See convslim inspect for what is pinned."
        )
    return MaskPlaces(
        groups=tuple(group.name for _, group in chosen),
        sizes=tuple(group.num_channels for _, group in chosen),
        tensors=_scaled_tensors(graph, [(group, found[number]) for number, group in chosen]),
        left=tuple((name, reason) for name, reason in reasons.items() if reason),
    )


def _reason(sources: Sources) -> str:
    if not sources:
        return "no layer reads its channels"
    return "a value behind its last parameter is never zero, or its weight is computed" if _NOWHERE in sources else ""


def _scaled_tensors(graph: ChannelGraph, chosen: list[tuple[ChannelGroup, Sources]]) -> tuple[ScaledTensor, ...]:
    numbers: dict[tuple[str, int], npt.NDArray[np.int64]] = {}
    start = 0
    for group, sources in chosen:
        for axis in group.axes:
            if axis.tensor in sources and axis.tensor in graph.parameters and axis.role != "in":
                size = graph.tensors[axis.tensor][axis.dim]
                line = numbers.setdefault((axis.tensor, axis.dim), np.full(size, -1, np.int64))
                line[axis.index] = start + np.arange(group.num_channels)[:, None]
        start += group.num_channels
    return tuple(ScaledTensor(name, dim, line) for (name, dim), line in sorted(numbers.items()))


class _Tracking:
    """Follows, over the recorded pass, which tensors of the model every group's values come from last."""

    def __init__(self, tape: Tape, labeler: Labeler, groups: list[ChannelGroup]) -> None:
        self._tape = tape
        self._labeler = labeler
        self._classes = labeler.store.resolve()
        self._group_of = np.full(int(self._classes.max()) + 1, -1, np.int64)
        for number, group in enumerate(groups):
            axis = group.axes[0]
            labels = labeler.seeds[axis.tensor][axis.dim][axis.index.reshape(-1)]
            self._group_of[self._classes[labels]] = number
        self._makers = {out.id: call for call in tape.calls for out in call.outs}
        self._found: dict[tuple[int, int], Sources] = {}

    def sources(self) -> dict[int, Sources]:
        """By number of the group: the tensors from which the values that layers read come last."""
        read: dict[int, Sources] = {}
        for call in self._tape.calls[: self._tape.compared]:
            for position, _, labels in self._labeler.reads.get(call.index, ()):
                for group in self._groups({0: labels}):
                    read[group] = read.get(group, frozenset()) | self._of(call.inputs[position], group)
            for out, value in zip(call.outs, self._labeler.flows[call.index], strict=True):
                for group in self._groups(value.axes):
                    self._found[out.id, group] = self._behind(call, group)
        return read

    def _groups(self, axes: Axes) -> set[int]:
        numbers = [self._group_of[self._classes[labels]] for labels in axes.values()]
        return {int(number) for line in numbers for number in np.unique(line)} - {-1}

    def _of(self, ref: TensorRef, group: int) -> Sources:
        """Where the group's values in a tensor come from; nowhere to speak of if it does not carry them."""
        if ref.name:
            return frozenset({ref.name}) if group in self._groups(self._labeler.axes(ref)) else frozenset()
        return self._found.get((ref.id, group), frozenset())

    def _behind(self, call: OpCall, group: int) -> Sources:
        """Where the group's values come from after a call."""
        own = frozenset(name for ref in call.inputs if (name := self._name(ref)) and group in self._own_groups(ref))
        before = frozenset().union(*(self._of(ref, group) for ref in call.inputs if not ref.name))
        if call.name == "convolution" or "norm" in call.name or call.name in ("addmm", "mm", "bmm", "baddbmm"):
            made = frozenset({_NOWHERE}) if self._computed(call, group) else own or frozenset({_NOWHERE})
            keeps_zero = call.name == "convolution" and call["bias"] is None
            return before if keeps_zero and before and self._passes(call, group) else made
        if call.name in _NEVER_ZERO:
            return frozenset({_NOWHERE})
        if call.name in ("mul", "div"):
            factors = [self._of(ref, group) for ref in call.inputs if not ref.name and self._of(ref, group)]
            return min(factors, key=lambda found: _NOWHERE in found, default=before)
        return before | own

    def _name(self, ref: TensorRef) -> str:
        """Name of a parameter, also of one that a linear layer turned; empty for all that is computed."""
        maker = self._makers.get(ref.id)
        return maker.inputs[0].name if maker is not None and maker.name == "t" else ref.name

    def _computed(self, call: OpCall, group: int) -> bool:
        """True if the call's weight or bias of the group is no parameter itself but made of some."""
        made = [ref for ref in call.inputs if not self._name(ref) and self._labeler.value(ref).static]
        return any(group in self._own_groups(ref) for ref in made)

    def _own_groups(self, ref: TensorRef) -> set[int]:
        return self._groups(self._labeler.axes(ref))

    def _passes(self, call: OpCall, group: int) -> bool:
        """True for a depthwise convolution of the group, which makes no new channels."""
        return not any(group in self._groups({0: labels}) for _, _, labels in self._labeler.reads.get(call.index, ()))
