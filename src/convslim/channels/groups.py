"""From the labels of a walk to the channel groups: one vectorised pass over all labels."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convslim.channels.constants import numbers_of
from convslim.channels.graph import AttributeCount, ChannelGraph, ChannelGroup, LayerCall, ParamAxis, Pin, Role
from convslim.channels.labeler import Labeler
from convslim.channels.labels import Vector
from convslim.channels.probe import Evidence
from convslim.channels.values import Mark


@dataclass(frozen=True)
class TensorInfo:
    """What the graph says of the model's own tensors."""

    shapes: Mapping[str, tuple[int, ...]]
    parameters: frozenset[str]


@dataclass(frozen=True)
class _Axis:
    tensor: str
    dim: int
    classes: Vector  # class of every position


@dataclass(frozen=True, eq=False)
class PinSets:
    """Sets of pins, and the number of every class's set."""

    sets: tuple[tuple[Pin, ...], ...]
    of_class: Vector

    def of(self, number: int) -> tuple[Pin, ...]:
        """The pins of one class."""
        return self.sets[self.of_class[number]]


@dataclass(frozen=True, eq=False)
class Remarks:
    """What forbids a removal, and what makes it approximate."""

    pins: PinSets
    approximations: PinSets


def build_graph(
    labelers: Sequence[Labeler], tensors: TensorInfo, evidence: Evidence, notes: Iterable[str] = ()
) -> ChannelGraph:
    """Group the classes of united labels that stand on the same axes, and name the groups."""
    first = labelers[0]
    classes = first.store.resolve()
    axes = [
        _Axis(tensor, dim, classes[labels]) for tensor, by_dim in first.seeds.items() for dim, labels in by_dim.items()
    ]
    num_classes = int(classes.max()) + 1
    made = np.zeros(num_classes, dtype=bool)
    for labeler in labelers:
        for mark in labeler.produced:
            made[classes[mark.labels]] = True
    made[0] = False
    remarks = Remarks(
        _by_class([labeler.pins for labeler in labelers], classes, num_classes),
        _by_class([labeler.approximations for labeler in labelers], classes, num_classes),
    )
    group_of = _group_of_class(axes, made, remarks, num_classes)
    groups = _groups(group_of, axes, labelers, classes, remarks)
    counts = [
        *itertools.chain.from_iterable(labeler.counts.items() for labeler in labelers),
        *numbers_of(evidence.tape, first).items(),
    ]
    touched = set(first.seeds)
    return ChannelGraph(
        structure=_structure(tensors, groups),
        groups=groups,
        tensors=tensors.shapes,
        parameters=tensors.parameters,
        calls=tuple(
            LayerCall(layer.call.module, layer.call.name, layer.param or None, layer.positions)
            for layer in first.layers
        ),
        unused=tuple(sorted(name for name in tensors.parameters if name not in touched)),
        notes=tuple(notes),
        attributes=_attributes(counts, classes, group_of, groups),
        evidence=evidence,
    )


def _attributes(
    counts: Iterable[tuple[str, Vector]], classes: Vector, group_of: Vector, groups: Sequence[ChannelGroup]
) -> tuple[AttributeCount, ...]:
    _, _, place = _ordered(group_of)
    found = {}
    for name, labels in counts:
        own, channel = group_of[classes[labels]], place[classes[labels]]
        times = {
            groups[number].name: np.bincount(channel[own == number], minlength=groups[number].num_channels)
            for number in np.unique(own[own >= 0])
        }
        found[name] = AttributeCount(name, times, int((own < 0).sum()))
    return tuple(found.values())


def _ordered(group_of: Vector) -> tuple[Vector, Vector, Vector]:
    """Classes by group, where each group starts among them, and the channel number of every class in its group."""
    members = np.flatnonzero(group_of >= 0)
    order = members[np.argsort(group_of[members], kind="stable")]
    starts = np.searchsorted(group_of[order], np.arange(int(group_of.max(initial=-1)) + 2))
    place = np.zeros(len(group_of), dtype=np.int64)
    place[order] = np.arange(len(order)) - starts[group_of[order]]
    return order, starts, place


def _by_class(marked: Sequence[Sequence[tuple[Vector, Pin]]], classes: Vector, num_classes: int) -> PinSets:
    """The pins of every class, as numbered sets."""
    by_class: dict[int, dict[Pin, None]] = {}
    for labels, pin in itertools.chain.from_iterable(marked):
        for number in np.unique(classes[labels]):
            by_class.setdefault(int(number), {})[pin] = None
    sets: dict[tuple[Pin, ...], int] = {(): 0}
    set_of = np.zeros(num_classes, dtype=np.int64)
    for number, pins in by_class.items():
        set_of[number] = sets.setdefault(tuple(pins), len(sets))
    return PinSets(tuple(sets), set_of)


def _group_of_class(axes: Sequence[_Axis], made: npt.NDArray[np.bool_], remarks: Remarks, num_classes: int) -> Vector:
    """Group number of every class, -1 for classes that no filter makes; in the order of their first label.

    Classes belong together if they stand on the same axes, equally often, and are pinned, or approximate, for the
    same reasons. A sum of random 64-bit numbers, one per axis, tells equal multisets of axes apart from all others.
    """
    rng = np.random.default_rng(0)
    signature = np.zeros(num_classes, dtype=np.uint64)
    for axis in axes:
        weight = rng.integers(1, 2**63, dtype=np.uint64)
        signature += np.bincount(axis.classes, minlength=num_classes).astype(np.uint64) * weight
    for sets in (remarks.pins, remarks.approximations):
        signature += sets.of_class.astype(np.uint64) * rng.integers(1, 2**63, dtype=np.uint64)
    members = np.flatnonzero(made)
    _, first, inverse = np.unique(signature[members], return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    group_of = np.full(num_classes, -1, dtype=np.int64)
    group_of[members] = rank[inverse]
    return group_of


def _groups(
    group_of: Vector,
    axes: Sequence[_Axis],
    labelers: Sequence[Labeler],
    classes: Vector,
    remarks: Remarks,
) -> tuple[ChannelGroup, ...]:
    num_groups = int(group_of.max(initial=-1)) + 1
    order, starts, place = _ordered(group_of)
    produced, consumed = (
        _modules(labelers, "produced", classes, group_of),
        _modules(labelers, "consumed", classes, group_of),
    )
    sentences = _sentences(labelers, classes, group_of)
    axes_of: list[list[ParamAxis]] = [[] for _ in range(num_groups)]
    roles = _roles(labelers, classes)
    for axis in axes:
        for group, param_axis in _split_axis(axis, group_of, place, np.diff(starts), roles):
            axes_of[group].append(param_axis)
    names = _unique([produced[group][0] for group in range(num_groups)])
    return tuple(
        ChannelGroup(
            name=names[group],
            num_channels=int(starts[group + 1] - starts[group]),
            axes=tuple(axes_of[group]),
            producers=tuple(produced[group]),
            consumers=tuple(consumed[group]),
            constraints=tuple(sentences[group]),
            pins=remarks.pins.of(order[starts[group]]),
            approximations=remarks.approximations.of(order[starts[group]]),
        )
        for group in range(num_groups)
    )


def _split_axis(
    axis: _Axis, group_of: Vector, place: Vector, sizes: Vector, roles: Mapping[tuple[str, int], Role]
) -> Iterable[tuple[int, ParamAxis]]:
    """The parts of one axis that belong to the groups on it."""
    groups = group_of[axis.classes]
    for group in np.unique(groups[groups >= 0]):
        positions = np.flatnonzero(groups == group)
        channel = place[axis.classes[positions]]
        index = positions[np.argsort(channel, kind="stable")].reshape(sizes[group], -1)
        role = roles.get((axis.tensor, axis.dim), "scale")
        yield int(group), ParamAxis(axis.tensor, axis.dim, index.astype(np.int64), role)


def _roles(labelers: Sequence[Labeler], classes: Vector) -> dict[tuple[str, int], Role]:
    """Which axes make and which read channels, by the labels that rules marked."""
    role = np.zeros(len(classes), dtype=np.int8)
    for labeler in labelers:
        for mark in labeler.produced:
            role[mark.labels] = 1
        for mark in labeler.consumed:
            role[mark.labels] = 2
    names: tuple[Role, ...] = ("scale", "out", "in")
    return {
        (tensor, dim): names[int(role[labels].max(initial=0))]
        for tensor, by_dim in labelers[0].seeds.items()
        for dim, labels in by_dim.items()
    }


def _marks(labelers: Sequence[Labeler], kind: str) -> Iterable[Mark]:
    for labeler in labelers:
        yield from getattr(labeler, kind)


def _groups_of_mark(mark: Mark, classes: Vector, group_of: Vector) -> list[int]:
    found = np.unique(group_of[classes[mark.labels]])
    return [int(group) for group in found if group >= 0]


def _modules(labelers: Sequence[Labeler], kind: str, classes: Vector, group_of: Vector) -> list[list[str]]:
    """Module names by group, in the order of the forward pass."""
    found: list[dict[str, None]] = [{} for _ in range(int(group_of.max(initial=-1)) + 1)]
    for mark in _marks(labelers, kind):
        assert mark.call is not None, "producers and consumers are marked by calls"
        for group in _groups_of_mark(mark, classes, group_of):
            found[group][mark.call.module or mark.call.title] = None
    return [list(names) for names in found]


def _sentences(labelers: Sequence[Labeler], classes: Vector, group_of: Vector) -> list[list[str]]:
    found: list[dict[str, None]] = [{} for _ in range(int(group_of.max(initial=-1)) + 1)]
    for mark in _marks(labelers, "constraints"):
        for group in _groups_of_mark(mark, classes, group_of):
            assert mark.call is not None, "constraints are marked by calls"
            found[group][f"{mark.text} ({mark.call.module}, {mark.call.source})"] = None
    return [list(texts) for texts in found]


def _unique(names: Sequence[str]) -> list[str]:
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return unique


def _structure(tensors: TensorInfo, groups: Sequence[ChannelGroup]) -> str:
    """SHA-256 over what a plan depends on: names, shapes, and the groups with their positions."""
    digest = hashlib.sha256(json.dumps(sorted(tensors.shapes.items())).encode())
    for group in groups:
        digest.update(f"{group.name}:{group.num_channels}:{group.prunable}".encode())
        for axis in group.axes:
            digest.update(f"{axis.tensor}:{axis.dim}".encode() + np.ascontiguousarray(axis.index).tobytes())
    return digest.hexdigest()
