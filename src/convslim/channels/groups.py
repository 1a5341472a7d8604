"""From the labels of a walk to the channel groups: one vectorised pass over all labels."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from convslim.channels.constants import numbers_of
from convslim.channels.graph import AttributeCount, ChannelCount, ChannelGraph, ChannelGroup, LayerCall, ParamAxis, Role
from convslim.channels.grouping import Grouping, Positions, group_classes
from convslim.channels.labeler import Labeler
from convslim.channels.labels import Vector
from convslim.channels.probe import Evidence
from convslim.channels.remarks import PinSets, pin_sets
from convslim.channels.tape import OpCall
from convslim.channels.values import Mark


@dataclass(frozen=True)
class TensorInfo:
    """What the graph says of the model's own tensors."""

    shapes: Mapping[str, tuple[int, ...]]
    parameters: frozenset[str]


def build_graph(
    labelers: Sequence[Labeler], tensors: TensorInfo, evidence: Evidence, notes: Iterable[str] = ()
) -> ChannelGraph:
    """Group the classes of united labels that stand on the same axes, and name the groups."""
    first = labelers[0]
    classes = first.store.resolve()
    made = np.zeros(int(classes.max()) + 1, dtype=bool)
    for labeler in labelers:
        for mark in labeler.produced:
            made[classes[mark.labels]] = True
    made[0] = False
    pins = pin_sets([labeler.pins for labeler in labelers], classes)
    approximations = pin_sets([labeler.approximations for labeler in labelers], classes)
    positions = Positions.of(first.seeds, classes)
    grouping = group_classes(positions, made, [pins.of_class, approximations.of_class])
    drafts = _Drafts(labelers, classes, grouping)
    groups = drafts.groups(positions, pins, approximations)
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
            LayerCall(
                layer.call.module,
                layer.call.name,
                layer.param or None,
                layer.positions,
                tuple(drafts.count(labels, groups) for labels in layer.widths),
            )
            for layer in first.layers
        ),
        unused=tuple(sorted(name for name in tensors.parameters if name not in touched)),
        notes=tuple(notes),
        attributes=tuple(drafts.attribute(name, labels, groups) for name, labels in dict(counts).items()),
        evidence=evidence,
    )


@dataclass(frozen=True, eq=False)
class _Drafts:
    """What walks say of the groups."""

    labelers: Sequence[Labeler]
    classes: Vector
    grouping: Grouping
    counted: dict[bytes, ChannelCount] = field(default_factory=dict)

    def groups(self, positions: Positions, pins: PinSets, approximations: PinSets) -> tuple[ChannelGroup, ...]:
        """The groups, in the order in which the forward pass meets them."""
        numbers = range(self.grouping.num_groups)
        produced, consumed = self._modules("produced"), self._modules("consumed")
        sentences = self._sentences()
        axes: list[list[ParamAxis]] = [[] for _ in numbers]
        for group, axis in self.grouping.axes(positions, self._roles()):
            axes[group].append(axis)
        names = _unique([produced[group][0] for group in numbers])
        return tuple(
            ChannelGroup(
                name=names[group],
                num_channels=int(self.grouping.sizes[group]),
                axes=tuple(axes[group]),
                producers=tuple(produced[group]),
                consumers=tuple(consumed[group]),
                constraints=tuple(sentences[group]),
                pins=pins.of(self.grouping.representative[group]),
                approximations=approximations.of(self.grouping.representative[group]),
            )
            for group in numbers
        )

    def attribute(self, name: str, labels: Vector, groups: Sequence[ChannelGroup]) -> AttributeCount:
        """A named number that counts the channels with these labels."""
        count = self.count(labels, groups)
        return AttributeCount(count.times, count.fixed, name)

    def count(self, labels: Vector, groups: Sequence[ChannelGroup]) -> ChannelCount:
        """How many channels have these labels; the same labels are counted once."""
        key = labels.tobytes()
        if key not in self.counted:
            self.counted[key] = self._count(labels, groups)
        return self.counted[key]

    def _count(self, labels: Vector, groups: Sequence[ChannelGroup]) -> ChannelCount:
        classes = self.classes[labels]
        own, channel = self.grouping.group_of[classes], self.grouping.channel[classes]
        times = {
            groups[number].name: np.bincount(channel[own == number], minlength=groups[number].num_channels)
            for number in self.grouping.among(classes)
        }
        return ChannelCount(times, int((own < 0).sum()))

    def _roles(self) -> dict[tuple[str, int], Role]:
        """Which axes make and which read channels, by the labels that rules marked."""
        role = np.zeros(len(self.classes), dtype=np.int8)
        for labeler in self.labelers:
            for mark in labeler.produced:
                role[mark.labels] = 1
            for mark in labeler.consumed:
                role[mark.labels] = 2
        names: tuple[Role, ...] = ("scale", "out", "in")
        return {
            (tensor, dim): names[int(role[labels].max(initial=0))]
            for tensor, by_dim in self.labelers[0].seeds.items()
            for dim, labels in by_dim.items()
        }

    def _marks(self, kind: str) -> Iterable[tuple[Mark, OpCall, int]]:
        """Every mark, its call and the groups that it is on."""
        for labeler in self.labelers:
            for mark in getattr(labeler, kind):
                assert mark.call is not None, "producers, consumers and constraints are marked by calls"
                for group in self.grouping.among(self.classes[mark.labels]):
                    yield mark, mark.call, group

    def _modules(self, kind: str) -> list[list[str]]:
        """Module names by group, in the order of the forward pass."""
        found: list[dict[str, None]] = [{} for _ in range(self.grouping.num_groups)]
        for _, call, group in self._marks(kind):
            found[group][call.module or call.title] = None
        return [list(names) for names in found]

    def _sentences(self) -> list[list[str]]:
        found: list[dict[str, None]] = [{} for _ in range(self.grouping.num_groups)]
        for mark, call, group in self._marks("constraints"):
            found[group][f"{mark.text} ({call.module}, {call.source})"] = None
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
