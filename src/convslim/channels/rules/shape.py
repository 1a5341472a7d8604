"""Operations that regroup dimensions: views, flattening, channel shuffle, pixel shuffle.

A dimension that carries channels may be split into several, ``(g, c)``. What stands there is a real tensor, so after
a removal it must still be a full rectangle: only one of the new dimensions can shrink, and the channels are tied
across the others. Which one is a *choice*; the trial removal of ``probe.py`` finds out if the model's code agrees.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from convslim.channels.labeler import Labeler, Rule
from convslim.channels.labels import Vector, is_varying
from convslim.channels.tape import OpCall, TensorRef
from convslim.channels.values import Axes


def repeat_labels(labels: Vector, times: int) -> Vector:
    """Every label ``times`` times in a row."""
    return np.repeat(labels, times)


def view(call: OpCall, labeler: Labeler) -> None:
    """view, reshape, flatten, unflatten: segment the old and the new shape into parts of equal size."""
    ref, out = call.inputs[0], call.outs[0]
    axes: Axes = {}
    flat: set[int] = set()
    value = labeler.value(ref)
    for old, new in _segments(ref.shape, out.shape):
        if all(value.fits(dim) for dim in old):
            flat.update(new)
        else:
            axes |= _regroup(call, labeler, old, new)
    if axes.keys() == labeler.axes(ref).keys() and ref.shape == out.shape:
        labeler.note_view(ref, out, {})
    labeler.put(out, axes, uniform=value.uniform, flat=flat, origin=value.origin)


def _segments(old: Sequence[int], new: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Runs of old and new dimensions with the same number of elements, sizes of 1 left out."""
    left = [dim for dim, size in enumerate(old) if size != 1]
    right = [dim for dim, size in enumerate(new) if size != 1]
    i = j = 0
    while i < len(left) and j < len(right):
        first_i, first_j = i, j
        size_left, size_right = old[left[i]], new[right[j]]
        i, j = i + 1, j + 1
        while size_left != size_right:
            if size_left < size_right:
                size_left *= old[left[i]]
                i += 1
            else:
                size_right *= new[right[j]]
                j += 1
        yield left[first_i:i], right[first_j:j]


def _regroup(call: OpCall, labeler: Labeler, old: list[int], new: list[int]) -> Axes:
    """Labels of the new dimensions of one segment."""
    ref, out = call.inputs[0], call.outs[0]
    axes = labeler.axes(ref)
    labeled = [dim for dim in old if dim in axes]
    if not labeled:
        axes = _repeated(labeler, ref, old)
        labeled = list(axes)
    if not labeled:
        return {}
    keep, *merged = labeled
    for dim in merged:
        labeler.pin(axes[dim], call, "the view merges two channel dimensions into one")
    shape = [ref.shape[dim] if dim == keep else 1 for dim in old]
    full = np.broadcast_to(axes[keep].reshape(shape), [ref.shape[dim] for dim in old])
    grid = full.reshape([out.shape[dim] for dim in new])
    return {new[dim]: labels for dim, labels in shrink_one(call, labeler, grid).items()}


def _repeated(labeler: Labeler, ref: TensorRef, old: list[int]) -> Axes:
    """Labels for a repeated value that is merged with others, such as a group's deviation spread over its channels.

    How often it is repeated follows the channels that it is put together with.
    """
    flat = [dim for dim in old if dim in labeler.value(ref).flat]
    return {dim: labeler.store.fresh(ref.shape[dim]) for dim in flat[:1] if not labeler.seeded}


def shrink_one(call: OpCall, labeler: Labeler, grid: Vector) -> Axes:
    """Tie a grid of labels so that only one of its dimensions can shrink; returns that dimension's labels.

    Candidates are tried from the longest dimension down (the last of equals first): ``(groups, channels)`` of a
    shuffle, ``(heads, features)`` of attention and ``(channels, r, r)`` of a pixel shuffle shrink in the channels.
    """
    varying = [dim for dim in range(grid.ndim) if is_varying(grid, dim)]
    if len(varying) <= 1:
        dim = varying[0] if varying else int(np.argmax(grid.shape))
        return {dim: _line(grid, dim)}
    candidates = sorted(varying, key=lambda dim: (-grid.shape[dim], -dim))
    chosen = labeler.choose(call, len(candidates))
    if chosen == len(candidates):
        labeler.pin(grid.reshape(-1), call, "the numbers of a view are fixed in the code", in_code=True)
        return {candidates[0]: _line(grid, candidates[0])}
    dim = labeler.decide(call, candidates[chosen], place=grid.ndim)
    line = _line(grid, dim)
    labeler.note_line(call, line, chosen)
    shape = [-1 if axis == dim else 1 for axis in range(grid.ndim)]
    labeler.unite(np.broadcast_to(line.reshape(shape), grid.shape), grid, call)
    times = math.prod(size for axis, size in enumerate(grid.shape) if axis != dim)
    labeler.constrain(line, call, f"{times} channels go together, because a view splits the channel dimension")
    return {dim: line}


def _line(grid: Vector, dim: int) -> Vector:
    """The labels along one dimension of a grid, at the start of all others."""
    return np.moveaxis(grid, dim, -1).reshape(-1, grid.shape[dim])[0].copy()


def pixel_shuffle(call: OpCall, labeler: Labeler) -> None:
    """``(C*r*r, H, W)`` becomes ``(C, H*r, W*r)``: the r*r channels of an output channel go together."""
    ref, out = call.inputs[0], call.outs[0]
    channel = len(ref.shape) - 3
    axes = labeler.pin_dims(call, ref, (channel + 1, channel + 2), "pixel_shuffle runs along the channel dimension")
    if channel in axes:
        grid = axes[channel].reshape(out.shape[channel], -1)
        labeler.unite(np.broadcast_to(grid[:, :1], grid.shape), grid, call)
        labeler.constrain(grid[:, 0], call, f"{grid.shape[1]} channels go together into one by pixel_shuffle")
        axes = axes | {channel: grid[:, 0].copy()}
    labeler.put(out, axes)


def pixel_unshuffle(call: OpCall, labeler: Labeler) -> None:
    """``(C, H*r, W*r)`` becomes ``(C*r*r, H, W)``: every channel fills r*r rows."""
    ref, out = call.inputs[0], call.outs[0]
    channel = len(ref.shape) - 3
    axes = labeler.pin_dims(call, ref, (channel + 1, channel + 2), "pixel_unshuffle runs along the channel dimension")
    if channel in axes:
        axes = axes | {channel: repeat_labels(axes[channel], out.shape[channel] // ref.shape[channel])}
    labeler.put(out, axes)


def channel_shuffle(call: OpCall, labeler: Labeler) -> None:
    """``(g, c)`` transposed to ``(c, g)``: equal positions of the g parts go together, the number g stays."""
    ref, out = call.inputs[0], call.outs[0]
    axes = dict(labeler.axes(ref))
    if 1 in axes:
        parts = call["groups"]
        labeler.tie_parts(call, axes[1], parts, f"{parts} channels go together by channel_shuffle")
        axes[1] = axes[1].reshape(parts, -1).T.reshape(-1)
    labeler.put(out, axes)


def restride(call: OpCall, labeler: Labeler) -> None:
    """``as_strided`` to the same sizes, elements in the same order: only the memory format of size-1 dimensions."""
    shape, strides = call.inputs[0].shape, list(call["stride"])
    dims = [dim for dim, size in enumerate(shape) if size > 1]
    dense = [math.prod(shape[dim + 1 :]) for dim in dims]
    same_order = tuple(call["size"]) == shape and [strides[dim] for dim in dims] == dense
    if same_order and not call["storage_offset"]:
        value = labeler.value(call.inputs[0])
        labeler.put(call.outs[0], value.axes, uniform=value.uniform, flat=value.flat, origin=value.origin)
    else:
        labeler.pin_inputs(call, "as_strided reads the memory in another order")


_VIEWS = "view _unsafe_view reshape _reshape_alias view_copy flatten unflatten _reshape_copy"

RULES: dict[str, Rule] = {
    **dict.fromkeys(_VIEWS.split(), view),
    "as_strided": restride,
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "channel_shuffle": channel_shuffle,
    "native_channel_shuffle": channel_shuffle,
}
