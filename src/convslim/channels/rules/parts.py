"""Operations that cut parts out of a dimension or add to it, at numbers: slices, splits, padding.

The numbers are the code's, or computed from a width. In a model of the user's class a tape cannot tell which; equal
parts are tied or channels pinned until the trial removal agrees. In a program every number is written anew after a
removal (:mod:`convslim.channels.constants`), so each part keeps its own channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from convslim.channels.labeler import Labeler, Rule
from convslim.channels.labels import Vector
from convslim.channels.tape import OpCall
from convslim.channels.values import PADDED, Axes

Option = Callable[[], None]


def put_moved(call: OpCall, labeler: Labeler, axes: Axes, origin: str = "", flat: Iterable[int] | None = None) -> None:
    """The first input's elements with labels where they are now."""
    value = labeler.value(call.inputs[0])
    labeler.put(call.outs[0], axes, uniform=value.uniform, flat=flat or (), origin=origin or value.origin)


def _take(call: OpCall, labeler: Labeler, options: Sequence[Option], parts: Sequence[Vector] = ()) -> None:
    """Take the option that the trials have come to; in a program, first of all none of them: its numbers follow."""

    def free() -> None:
        for part in parts:
            if len(part) == 1:  # a dimension of size 1 is broadcast, and cannot become empty
                labeler.pin(part, call, "a single channel is cut out", True)

    every = [*([free] if call.node else []), *options]
    every[labeler.choose(call, len(every) - 1)]()


def slice_(call: OpCall, labeler: Labeler) -> None:
    """``x[:, start:end:step]``. A part of the channels is cut off at a number that the code knows, or computes.

    Either the parts are equal halves (thirds, ...), computed from the width, and are tied; or the numbers are fixed,
    and what they count from the front may not be removed; or, last, everything is pinned.
    """
    ref = call.inputs[0]
    dim = call["dim"] % len(ref.shape)
    axes = dict(labeler.axes(ref))
    size = ref.shape[dim]
    start = min(max(_wrap(call["start"] or 0, size), 0), size)
    end = min(_wrap(size if call["end"] is None else call["end"], size), size)
    labeler.note_view(ref, call.outs[0], {dim: np.arange(start, end, call["step"])})
    if dim in axes and call.outs[0].shape[dim] != size:
        labels = axes[dim]
        _tie_or_pin(call, labeler, labels, start, end, call["step"])
        axes[dim] = labels[start : end : call["step"]]
    put_moved(call, labeler, axes)


def _wrap(position: int, size: int) -> int:
    return position + size if position < 0 else position


def _tie_or_pin(call: OpCall, labeler: Labeler, labels: Vector, start: int, end: int, step: int) -> None:
    size, part = len(labels), end - start
    options: list[Option] = []
    if step == 1:
        counted = labels[: start if end == size else end]
        options.append(lambda: labeler.pin(counted, call, "a slice counts these channels by a fixed number", True))
        if part > 0 and size % part == 0 and start % part == 0 and labels.all():
            # Halves are most often computed from the width; smaller parts are most often fixed.
            place = 0 if size == 2 * part else 1
            options.insert(place, lambda: tie_equal_parts(call, labeler, labels, size // part))
    options.append(lambda: labeler.pin(labels, call, "a slice counts the channels by fixed numbers", True))
    _take(call, labeler, options, [labels[start:end:step]])


def tie_equal_parts(call: OpCall, labeler: Labeler, labels: Vector, num_parts: int) -> None:
    """Equal positions of equal parts go together, so that the parts stay equal."""
    text = f"{num_parts} channels go together, because {num_parts} equal parts stay equal"
    labeler.tie_parts(call, labels, num_parts, text)


def select(call: OpCall, labeler: Labeler) -> None:
    """``x[:, i]``: the position stays; and with it, unless the number follows, all along its dimension."""
    ref = call.inputs[0]
    dim = call["dim"] % len(ref.shape)
    axes = dict(labeler.axes(ref))
    if dim in axes:
        labels, reason = axes.pop(dim), "a channel is picked by its number"
        labeler.pin(labels[[call["index"]]], call, reason, True)
        _take(call, labeler, [lambda: labeler.pin(labels, call, reason, True)])
    put_moved(call, labeler, {old - (old > dim): labels for old, labels in axes.items()})


def split(call: OpCall, labeler: Labeler) -> None:
    """split, chunk, split with sizes: equal parts are tied; with fixed numbers everything is pinned."""
    ref = call.inputs[0]
    dim = call["dim"] % len(ref.shape)
    axes = dict(labeler.axes(ref))
    sizes = [out.shape[dim] for out in call.outs]
    if dim in axes and len(sizes) > 1:
        labels = axes[dim]
        options: list[Option] = [lambda: labeler.pin(labels, call, "a split has fixed sizes", True)]
        if len(set(sizes)) == 1:
            options.insert(0, lambda: tie_equal_parts(call, labeler, labels, len(sizes)))
        _take(call, labeler, options, np.split(labels, np.cumsum(sizes)[:-1]))
    ends = np.cumsum(sizes)
    for out, size, end in zip(call.outs, sizes, ends, strict=True):
        own = axes | ({dim: axes[dim][end - size : end]} if dim in axes else {})
        labeler.put(out, own, origin=labeler.value(ref).origin)


def constant_pad(call: OpCall, labeler: Labeler) -> None:
    """Padding. Along channels it adds positions without one; their number is the code's (or a module's attribute).

    In a program the padded positions are channels of their own: where the result meets a wider branch they live and
    die with its channels, and the amount of padding follows.
    """
    ref, pad = call.inputs[0], call["pad"]
    axes, origin = dict(labeler.axes(ref)), ""
    for dim in list(axes):
        place = 2 * (len(ref.shape) - 1 - dim)
        before, after = (pad[place], pad[place + 1]) if place < len(pad) else (0, 0)
        if before < 0 or after < 0:
            labeler.pin(axes[dim], call, "channels are cropped by a fixed number")
        if before or after:
            inner = axes[dim][max(-before, 0) : len(axes[dim]) - max(-after, 0)]
            ends = [_padding(call, labeler, max(amount, 0)) for amount in (before, after)]
            axes[dim] = np.concatenate([ends[0], inner, ends[1]])
            origin = PADDED
    put_moved(call, labeler, axes, origin)


def _padding(call: OpCall, labeler: Labeler, amount: int) -> Vector:
    """Labels of padded positions."""
    if call.node and not labeler.seeded and labeler.choose(call, 1) == 0:
        return labeler.store.fresh(amount)
    return np.zeros(amount, dtype=np.int64)


RULES: dict[str, Rule] = {
    "slice": slice_,
    "select": select,
    "split": split,
    "split_with_sizes": split,
    "constant_pad_nd": constant_pad,
}
