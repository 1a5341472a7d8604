"""From classes of united labels to groups: classes that stand on the same axes are one group's channels.

All axes are looked at together, as one long list of positions, so that the time grows with their number alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from convslim.channels.graph import ParamAxis, Role
from convslim.channels.labels import Vector
from convslim.channels.values import Axes


@dataclass(frozen=True, eq=False)
class Positions:
    """The positions of all axes, one axis after the other.

    Attributes:
        names: Tensor and dimension of every axis.
        axis: Number of the axis of every position.
        place: Its place along the axis.
        classes: Class of its label.
    """

    names: tuple[tuple[str, int], ...]
    axis: Vector
    place: Vector
    classes: Vector

    @classmethod
    def of(cls, seeds: Mapping[str, Axes], classes: Vector) -> Positions:
        """All positions of the model's tensors."""
        lines = {(tensor, dim): labels for tensor, axes in seeds.items() for dim, labels in axes.items()}
        sizes = [len(labels) for labels in lines.values()]
        none = np.zeros(0, dtype=np.int64)
        return cls(
            names=tuple(lines),
            axis=np.repeat(np.arange(len(sizes)), sizes),
            place=np.concatenate([none, *(np.arange(size) for size in sizes)]),
            classes=classes[np.concatenate([none, *lines.values()])],
        )


@dataclass(frozen=True, eq=False)
class Grouping:
    """Which group every class belongs to.

    Attributes:
        group_of: Group of every class, -1 for classes that no filter makes; groups in the order of their first label.
    """

    group_of: Vector

    @cached_property
    def num_groups(self) -> int:
        """Number of groups."""
        return int(self.group_of.max(initial=-1)) + 1

    @cached_property
    def sizes(self) -> Vector:
        """Channels of every group."""
        return np.bincount(self.group_of[self.group_of >= 0], minlength=self.num_groups)

    @cached_property
    def channel(self) -> Vector:
        """Number of every class within its group."""
        members = np.flatnonzero(self.group_of >= 0)
        order = members[np.argsort(self.group_of[members], kind="stable")]
        starts = np.cumsum(self.sizes) - self.sizes
        channel = np.zeros(len(self.group_of), dtype=np.int64)
        channel[order] = np.arange(len(order)) - starts[self.group_of[order]]
        return channel

    @cached_property
    def representative(self) -> Vector:
        """One class of every group."""
        members = np.flatnonzero((self.channel == 0) & (self.group_of >= 0))
        found = np.zeros(self.num_groups, dtype=np.int64)
        found[self.group_of[members]] = members
        return found

    def among(self, classes: Vector) -> list[int]:
        """The groups of some classes."""
        groups = self.group_of[classes]
        if len(groups) and groups[0] >= 0 and (groups == groups[0]).all():
            return [int(groups[0])]
        return [int(group) for group in np.unique(groups) if group >= 0]

    def axes(self, positions: Positions, roles: Mapping[tuple[str, int], Role]) -> Iterator[tuple[int, ParamAxis]]:
        """The parts of all axes that belong to groups, with the group."""
        groups = self.group_of[positions.classes]
        held = np.flatnonzero(groups >= 0)
        part = positions.axis[held] * self.num_groups + groups[held]
        channel = self.channel[positions.classes[held]]
        order = np.argsort(part * (int(self.sizes.max(initial=0)) + 1) + channel, kind="stable")
        place, part = positions.place[held][order], part[order]
        edges = np.flatnonzero(np.diff(part, prepend=-1, append=-1)).tolist()
        for start, end in itertools.pairwise(edges):
            axis, group = divmod(int(part[start]), self.num_groups)
            name = positions.names[axis]
            index = place[start:end].reshape(self.sizes[group], -1)
            yield group, ParamAxis(*name, index, roles.get(name, "scale"))


def group_classes(positions: Positions, made: npt.NDArray[np.bool_], kinds: Sequence[Vector]) -> Grouping:
    """Put classes together that stand on the same axes, equally often, and are of the same kinds.

    A sum of random 64-bit numbers, one per axis, tells equal multisets of axes apart from all others.

    Args:
        positions: Where the classes stand.
        made: True for classes that some filter makes.
        kinds: Further numbers by class (which pins, which approximations) that must be equal within a group.
    """
    rng = np.random.default_rng(0)
    weights = rng.integers(1, 2**63, size=len(positions.names), dtype=np.uint64)
    order = np.argsort(positions.classes, kind="stable")
    total = np.append(np.uint64(0), np.cumsum(weights[positions.axis[order]], dtype=np.uint64))
    ends = np.searchsorted(positions.classes[order], np.arange(len(made)), side="right")
    signature = total[ends] - np.append(np.uint64(0), total[ends][:-1])
    for kind in kinds:
        signature += kind.astype(np.uint64) * rng.integers(1, 2**63, dtype=np.uint64)
    members = np.flatnonzero(made)
    _, first, inverse = np.unique(signature[members], return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    group_of = np.full(len(made), -1, dtype=np.int64)
    group_of[members] = rank[inverse]
    return Grouping(group_of)
