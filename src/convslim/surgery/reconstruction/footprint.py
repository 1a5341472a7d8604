"""How much memory a batch takes while it stands at a layer, and so how many batches can stand there."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from convslim.channels.tape import Tape
from convslim.surgery.reconstruction.replay import dropped

MEMORY = 2 * 2**30
"""Bytes that the batches under way may take, unless told otherwise: some 5,000 images of a CIFAR ResNet."""

_ELEMENT = 4


def footprint(tape: Tape) -> list[int]:
    """By place on the tape: the most bytes of activations that are alive there or later, elements taken for float32.

    The most from there on, since a batch that is under way is never put aside.
    """
    sizes = {ref.id: _ELEMENT * math.prod(ref.shape) for ref in tape.model_inputs}
    alive = sum(sizes.values())
    by_place = []
    for call, gone in zip(tape.calls, dropped(tape), strict=True):
        sizes |= (new := {out.id: _ELEMENT * math.prod(out.shape) for out in call.outs if out.id not in sizes})
        alive += sum(new.values())
        by_place.append(alive)
        alive -= sum(sizes.pop(number, 0) for number in gone)
    return list(itertools.accumulate(reversed(by_place), max))[::-1]


def num_fitting(each: Sequence[int], memory: int) -> int:
    """How many of these sizes, in order, fit into a memory; at least one.

    >>> num_fitting([40, 40, 40], 100), num_fitting([400], 100)
    (2, 1)
    """
    return max(1, sum(total <= memory for total in itertools.accumulate(each)))
