"""Which remarks (pins, approximations) every class of channels carries, as numbered sets."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from convslim.channels.graph import Pin
from convslim.channels.labels import Vector

Remark = tuple[Vector, Pin]


@dataclass(frozen=True, eq=False)
class PinSets:
    """Sets of pins, and the number of every class's set; set 0 is empty."""

    sets: tuple[tuple[Pin, ...], ...]
    of_class: Vector

    def of(self, number: int) -> tuple[Pin, ...]:
        """The pins of one class."""
        return self.sets[self.of_class[number]]


def pin_sets(remarks: Iterable[Iterable[Remark]], classes: Vector) -> PinSets:
    """The set of pins of every class.

    A sum of random 64-bit numbers, one per pin, tells the sets apart, so that no class is looked at on its own.

    Args:
        remarks: Labels with the pin that is on them, in several parts.
        classes: Class of every label.
    """
    labels_of: dict[Pin, list[Vector]] = {}
    for labels, pin in itertools.chain.from_iterable(remarks):
        labels_of.setdefault(pin, []).append(labels)
    members = [np.unique(classes[np.concatenate(parts)]) for parts in labels_of.values()]
    rng = np.random.default_rng(0)
    signature = np.zeros(int(classes.max()) + 1, dtype=np.uint64)
    for found in members:
        signature[found] += rng.integers(1, 2**63, dtype=np.uint64)
    _, first, of_class = np.unique(np.append(np.uint64(0), signature), return_index=True, return_inverse=True)
    holds = np.zeros((len(members), len(first)), dtype=bool)
    for row, found in zip(holds, members, strict=True):
        row[of_class[1:][found]] = True
    pins = tuple(labels_of)
    sets = tuple(tuple(pins[number] for number in np.flatnonzero(column)) for column in holds.T)
    return PinSets(sets, of_class[1:].astype(np.int64))
