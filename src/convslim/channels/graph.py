"""The result of a trace: which channels of a network live and die together.

A :class:`ChannelGraph` is a frozen description. It holds no tensor of the model, can be printed and compared, and is
what criteria score, what allocation divides a budget over, and what surgery carries out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from convslim.errors import PlanError, nearest

if TYPE_CHECKING:
    from convslim.channels.probe import Evidence
    from convslim.channels.program.assemble import Program

Role = Literal["out", "in", "scale"]


@dataclass(frozen=True)
class Pin:
    """Why channels may not be removed, and where in the user's code the reason is.

    Attributes:
        reason: One sentence.
        operation: The ATen operation, for example ``aten.softmax``; empty for pins that are not an operation's.
        module: Dotted module name in whose forward the operation ran.
        source: ``file.py:12`` of the user's code.
        in_code: True if the reason is a number in Python code; written down as a graph, the model may do without.
    """

    reason: str
    operation: str = ""
    module: str = ""
    source: str = ""
    in_code: bool = False

    def __str__(self) -> str:
        place = ", ".join(part for part in (self.operation, self.module and f"in {self.module}", self.source) if part)
        return f"{self.reason} ({place})" if place else self.reason


@dataclass(frozen=True, eq=False)
class ParamAxis:
    """One axis of one parameter or buffer that carries the channels of a group.

    Attributes:
        tensor: Dotted name of the parameter or buffer.
        dim: The axis.
        index: Positions along ``dim``, shape ``(num_channels, multiplicity)``: channel ``c`` of the group stands at
            ``index[c]``. The multiplicity is above 1 where one channel fills several positions, for example the
            H x W features of a flattened map.
        role: ``"out"`` for the axis of filters that make the channels, ``"in"`` for weights that read them,
            ``"scale"`` for everything per channel (normalization, bias, gates).
    """

    tensor: str
    dim: int
    index: npt.NDArray[np.int64]
    role: Role


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels that are cut in the same places: remove channel ``c`` from every axis, or from none.

    Attributes:
        name: The module name of the first producer; where one producer feeds several groups, with ``#2``, ``#3``, ...
        num_channels: How many channels can be decided on separately.
        axes: Every axis of every tensor that has to shrink with the group.
        producers: Module names of the layers whose filters make the channels.
        consumers: Module names of the layers that read them.
        constraints: Sentences on what couples the channels beyond a one-to-one correspondence.
        pins: Why the group may not be pruned; empty if it may.
        approximations: Why removing some of the channels changes the rest: normalizations over the channels. The
            smaller model equals the original whose statistics are taken over the kept channels.
    """

    name: str
    num_channels: int
    axes: tuple[ParamAxis, ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    pins: tuple[Pin, ...] = ()
    approximations: tuple[Pin, ...] = ()

    @property
    def prunable(self) -> bool:
        """True if nothing pins the group."""
        return not self.pins

    @property
    def exact(self) -> bool:
        """True if the other channels keep their values when some are removed."""
        return not self.approximations


@dataclass(frozen=True)
class ChannelCount:
    """A size that counts channels: ``fixed`` plus, for every kept channel ``c`` of every group, ``times[group][c]``.

    Attributes:
        times: Positions that each channel of a group accounts for, shape ``(num_channels,)``, by group name.
        fixed: Positions that belong to no group.
    """

    times: Mapping[str, npt.NDArray[np.int64]]
    fixed: int

    def value(self, kept: Mapping[str, Sequence[int] | npt.NDArray[np.int64]]) -> int:
        """The number for kept channels by group name; groups that are not named stay whole."""
        stay = [
            times[np.asarray(kept[group], dtype=np.int64)] if group in kept else times
            for group, times in self.times.items()
        ]
        return self.fixed + sum(int(times.sum()) for times in stay)


@dataclass(frozen=True, eq=False)
class AttributeCount(ChannelCount):
    """A number beside the tensors that counts channels: ``groups`` of a depthwise layer, a size in a graph's view.

    Attributes:
        name: Dotted module name and attribute, ``"features.1.conv.0.groups"``; or, in a model that is carried out as a
            graph, the node and its argument, ``"split_3:split_sizes.0"``.
    """

    name: str


@dataclass(frozen=True, eq=False)
class LayerCall:
    """One use of a layer with weights, or of a product of activations, while one example runs.

    Attributes:
        module: Dotted name of the module that called.
        operation: The ATen operation without its namespace.
        weight: The tensor that the layer's weights come from; None for a product of activations.
        positions: Multiply-accumulates for each combination of channels.
        widths: The sizes that count channels.
    """

    module: str
    operation: str
    weight: str | None
    positions: int
    widths: tuple[ChannelCount, ...] = ()

    def macs(self, kept: Mapping[str, Sequence[int] | npt.NDArray[np.int64]] | None = None) -> int:
        """Multiply-accumulates for kept channels by group name: ``positions * product of widths``."""
        return self.positions * math.prod(width.value(kept or {}) for width in self.widths)


@dataclass(frozen=True, eq=False)
class ChannelGraph:
    """All channel groups of a model.

    Attributes:
        structure: SHA-256 over tensor names, shapes and groups: a plan made for this graph carries it.
        groups: The groups, in the order in which the forward pass meets them.
        tensors: Shape of every parameter and buffer.
        parameters: Names of those that are parameters (the rest are buffers).
        calls: The layers' uses, for counting.
        unused: Parameters that the example input never reached.
        notes: Facts the user should know, for example that the training branch could not be traced.
        attributes: Numbers of layers that follow the kept channels beside the tensors.
        evidence: The recorded pass, against which surgery checks rewritten models.
        way: ``"class"`` if plans are carried out on the user's class, ``"graph"`` on a graph of it.
        way_reason: Why, as the end of a sentence.
        program: The graph, for that way.
    """

    structure: str
    groups: tuple[ChannelGroup, ...]
    tensors: Mapping[str, tuple[int, ...]]
    parameters: frozenset[str]
    calls: tuple[LayerCall, ...]
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    attributes: tuple[AttributeCount, ...] = ()
    evidence: Evidence | None = field(default=None, repr=False)
    way: Literal["class", "graph"] = "class"
    way_reason: str = ""
    program: Program | None = field(default=None, repr=False)

    @cached_property
    def _by_name(self) -> dict[str, ChannelGroup]:
        return {group.name: group for group in self.groups}

    @property
    def prunable(self) -> tuple[ChannelGroup, ...]:
        """The groups that nothing pins."""
        return tuple(group for group in self.groups if group.prunable)

    def group(self, name: str) -> ChannelGroup:
        """The group called ``name``.

        Raises:
            PlanError: If there is none; the message has the nearest names.
        """
        try:
            return self._by_name[name]
        except KeyError:
            raise PlanError(f"The model has no channel group {name!r}.{nearest(name, self._by_name)}") from None

    def explain(self, name: str) -> str:
        """Say in words what is known of a group, or of every group that a module makes, reads or scales.

        Args:
            name: A group's name or a module's dotted name, for example ``"layer1.0.conv1"``.

        Raises:
            PlanError: If no group has to do with that name.
        """
        found = [group for group in self.groups if group.name == name]
        found = found or [group for group in self.groups if name in _modules(group)]
        if not found:
            known = {module for group in self.groups for module in _modules(group)} | set(self._by_name)
            raise PlanError(f"No channel group has to do with {name!r}.{nearest(name, known)}")
        return "\n\n".join(_describe(group) for group in found)


def _modules(group: ChannelGroup) -> set[str]:
    return {axis.tensor.rpartition(".")[0] for axis in group.axes} | set(group.producers) | set(group.consumers)


def _describe(group: ChannelGroup) -> str:
    state = "pinned" if group.pins else "prunable" if group.exact else "prunable, approximate"
    lines = [f"group {group.name}: {group.num_channels} channels, {state}"]
    lines += [f"  pinned: {pin}" for pin in group.pins]
    lines += [f"  approximate: {pin}" for pin in group.approximations]
    lines += [f"  constraint: {sentence}" for sentence in group.constraints]
    lines += [
        f"  made by: {', '.join(group.producers) or '-'}",
        f"  read by: {', '.join(group.consumers) or '-'}",
    ]
    for axis in group.axes:
        times = f" x {axis.index.shape[1]}" if axis.index.shape[1] > 1 else ""
        lines.append(f"  {axis.role:5} axis: {axis.tensor}[dim {axis.dim}], {axis.index.shape[0]}{times} positions")
    return "\n".join(lines)
