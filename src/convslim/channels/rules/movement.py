"""Operations that move elements: the labels move with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from convslim.channels.labeler import Labeler, Rule
from convslim.channels.labels import Vector
from convslim.channels.tape import OpCall, TensorRef
from convslim.channels.values import Axes, vector


def _put_moved(call: OpCall, labeler: Labeler, axes: Axes, origin: str = "", flat: Iterable[int] | None = None) -> None:
    value = labeler.value(call.inputs[0])
    labeler.put(call.outs[0], axes, uniform=value.uniform, flat=flat or (), origin=origin or value.origin)


def same(call: OpCall, labeler: Labeler) -> None:
    """clone, contiguous, detach, casts: nothing moves."""
    value = labeler.value(call.inputs[0])
    _put_moved(call, labeler, value.axes, flat=value.flat)


def permute(call: OpCall, labeler: Labeler) -> None:
    """permute, transpose, t: dimensions change places."""
    ndim = len(call.inputs[0].shape)
    if call.name == "permute":
        order = [dim % ndim for dim in call["dims"]]
    else:
        order = list(range(ndim))
        first, second = (0, ndim - 1) if call.name == "t" else (call["dim0"] % ndim, call["dim1"] % ndim)
        order[first], order[second] = order[second], order[first]
    axes = labeler.axes(call.inputs[0])
    _put_moved(call, labeler, {new: axes[old] for new, old in enumerate(order) if old in axes})


def unsqueeze(call: OpCall, labeler: Labeler) -> None:
    """A new dimension of size 1."""
    dim = call["dim"] % len(call.outs[0].shape)
    _put_moved(call, labeler, {old + (old >= dim): labels for old, labels in labeler.axes(call.inputs[0]).items()})


def squeeze(call: OpCall, labeler: Labeler) -> None:
    """Dimensions of size 1 go; they carry no channels."""
    shape = call.inputs[0].shape
    given = call.bound.get("dim")
    dims = range(len(shape)) if given is None else [given] if isinstance(given, int) else given
    gone = {dim % len(shape) for dim in dims if shape[dim] == 1}
    axes = labeler.axes(call.inputs[0])
    _put_moved(call, labeler, {dim - sum(g < dim for g in gone): v for dim, v in axes.items() if dim not in gone})


def expand(call: OpCall, labeler: Labeler) -> None:
    """New leading dimensions, and repetition of dimensions of size 1: one value all along them."""
    ref, shape = call.inputs[0], call.outs[0].shape
    lead = len(shape) - len(ref.shape)
    value = labeler.value(ref)
    repeated = {dim for dim, size in enumerate(shape) if size > 1 and (dim < lead or ref.shape[dim - lead] == 1)}
    axes = {dim + lead: labels for dim, labels in value.axes.items()}
    _put_moved(call, labeler, axes, flat=repeated | {dim + lead for dim in value.flat})


def repeat(call: OpCall, labeler: Labeler) -> None:
    """Tiles: every tile carries the same labels again."""
    ref, out = call.inputs[0], call.outs[0]
    lead = len(out.shape) - len(ref.shape)
    axes = {
        dim + lead: np.tile(labels, out.shape[dim + lead] // ref.shape[dim])
        for dim, labels in labeler.axes(ref).items()
    }
    _put_moved(call, labeler, axes)


def _along(move: Callable[[OpCall, Vector, int], Vector]) -> Rule:
    """A rule for operations that rearrange whole slices along some dimensions and leave the rest alone."""

    def rule(call: OpCall, labeler: Labeler) -> None:
        axes = labeler.axes(call.inputs[0])
        _put_moved(call, labeler, {dim: move(call, labels, dim) for dim, labels in axes.items()})

    return rule


def _dims(call: OpCall, name: str) -> list[int]:
    ndim = len(call.inputs[0].shape)
    given = call[name]
    return [dim % ndim for dim in ([given] if isinstance(given, int) else given)]


def _flip(call: OpCall, labels: Vector, dim: int) -> Vector:
    return labels[::-1].copy() if dim in _dims(call, "dims") else labels


def _roll(call: OpCall, labels: Vector, dim: int) -> Vector:
    dims = _dims(call, "dims")
    shifts = call["shifts"]
    shifts = [shifts] if isinstance(shifts, int) else shifts
    return np.roll(labels, shifts[dims.index(dim)]) if dim in dims else labels


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
    _put_moved(call, labeler, axes)


def _wrap(position: int, size: int) -> int:
    return position + size if position < 0 else position


def _tie_or_pin(call: OpCall, labeler: Labeler, labels: Vector, start: int, end: int, step: int) -> None:
    size, part = len(labels), end - start
    options: list[Callable[[], None]] = []
    if step == 1:
        counted = labels[: start if end == size else end]
        options.append(lambda: labeler.pin(counted, call, "a slice counts these channels by a fixed number"))
        if part > 0 and size % part == 0 and start % part == 0 and labels.all():
            # Halves are most often computed from the width; smaller parts are most often fixed.
            place = 0 if size == 2 * part else 1
            options.insert(place, lambda: _tie_parts(call, labeler, labels, size // part))
    options.append(lambda: labeler.pin(labels, call, "a slice counts the channels by fixed numbers"))
    options[labeler.choose(call, len(options) - 1)]()


def _tie_parts(call: OpCall, labeler: Labeler, labels: Vector, num_parts: int) -> None:
    text = f"{num_parts} channels go together, because {num_parts} equal parts stay equal"
    labeler.tie_parts(call, labels, num_parts, text)


def select(call: OpCall, labeler: Labeler) -> None:
    """``x[:, i]``: one position by number. Channels along that dimension are pinned."""
    ref = call.inputs[0]
    dim = call["dim"] % len(ref.shape)
    axes = labeler.pin_dims(call, ref, [dim], "a channel is picked by its number")
    _put_moved(call, labeler, {old - (old > dim): labels for old, labels in axes.items()})


def unbind(call: OpCall, labeler: Labeler) -> None:
    """All positions of a dimension as tensors of their own."""
    ref = call.inputs[0]
    dim = call["dim"] % len(ref.shape)
    axes = labeler.pin_dims(call, ref, [dim], "the channels are taken apart one by one")
    for out in call.outs:
        labeler.put(out, {old - (old > dim): labels for old, labels in axes.items()})


def split(call: OpCall, labeler: Labeler) -> None:
    """split, chunk, split with sizes: equal parts are tied first; with fixed numbers everything is pinned."""
    ref = call.inputs[0]
    dim = call["dim"] % len(ref.shape)
    axes = dict(labeler.axes(ref))
    sizes = [out.shape[dim] for out in call.outs]
    if dim in axes and len(sizes) > 1:
        if labeler.choose(call, 1) == 0 and len(set(sizes)) == 1:
            _tie_parts(call, labeler, axes[dim], len(sizes))
        else:
            labeler.pin(axes[dim], call, "a split has fixed sizes")
    ends = np.cumsum(sizes)
    for out, size, end in zip(call.outs, sizes, ends, strict=True):
        own = axes | ({dim: axes[dim][end - size : end]} if dim in axes else {})
        labeler.put(out, own, origin=labeler.value(ref).origin)


def cat(call: OpCall, labeler: Labeler) -> None:
    """Concatenation joins the labels along its dimension and unites those along the others."""
    parts = [ref for ref in call.inputs if ref.shape != (0,)]
    ndim = len(call.outs[0].shape)
    dim = call["dim"] % ndim
    axes: Axes = {}
    for other in range(ndim):
        if other == dim:
            axes[dim] = np.concatenate([vector(labeler.axes(ref), dim, ref.shape[dim]) for ref in parts])
        elif any(other in labeler.axes(ref) for ref in parts):
            axes[other] = _common(call, labeler, parts, other)
    origins = [labeler.value(ref).origin for ref in parts if not labeler.axes(ref)]
    _put_moved(call, labeler, axes, origins[0] if origins else "")


def _common(call: OpCall, labeler: Labeler, parts: Sequence[TensorRef], dim: int) -> Vector:
    first = next(labeler.axes(ref)[dim] for ref in parts if dim in labeler.axes(ref))
    for ref in parts:
        value = labeler.value(ref)
        if dim in value.axes or not value.uniform:
            labeler.unite(first, vector(value.axes, dim, ref.shape[dim]), call, value.origin)
    return first


def glu(call: OpCall, labeler: Labeler) -> None:
    """``a * sigmoid(b)`` with a, b the halves of a dimension: equal positions of the halves go together."""
    ref = call.inputs[0]
    dim = call["dim"] % len(ref.shape)
    axes = dict(labeler.axes(ref))
    if dim in axes:
        _tie_parts(call, labeler, axes[dim], 2)
        axes[dim] = axes[dim][: len(axes[dim]) // 2]
    _put_moved(call, labeler, axes)


def stack(call: OpCall, labeler: Labeler) -> None:
    """A new dimension; labels along the others are united."""
    parts = call.inputs
    dim = call["dim"] % len(call.outs[0].shape)
    axes: Axes = {}
    for other in range(len(parts[0].shape)):
        if any(other in labeler.axes(ref) for ref in parts):
            axes[other + (other >= dim)] = _common(call, labeler, parts, other)
    _put_moved(call, labeler, axes)


def constant_pad(call: OpCall, labeler: Labeler) -> None:
    """Padding. Along channels it adds positions without one; their number is the code's (or a module's attribute)."""
    ref = call.inputs[0]
    pad = call["pad"]
    axes = dict(labeler.axes(ref))
    origin = ""
    for dim in list(axes):
        place = 2 * (len(ref.shape) - 1 - dim)
        if place < len(pad):
            before, after = pad[place], pad[place + 1]
            if before < 0 or after < 0:
                labeler.pin(axes[dim], call, "channels are cropped by a fixed number")
            inner = axes[dim][max(-before, 0) : len(axes[dim]) - max(-after, 0)]
            axes[dim] = np.pad(inner, (max(before, 0), max(after, 0)))
            origin = "zero-padded channels" if before or after else origin
    _put_moved(call, labeler, axes, origin)


def by_index(call: OpCall, labeler: Labeler) -> None:
    """Picking by a tensor of positions: along channels the positions are fixed numbers, and pin them."""
    ref, out = call.inputs[0], call.outs[0]
    if call.name == "index_select":
        dims = [call["dim"] % len(ref.shape)]
    else:
        dims = [dim for dim, index in enumerate(call["indices"]) if index is not None]
    axes = labeler.pin_dims(call, ref, dims, "channels are picked by fixed numbers")
    if len(dims) == 1 and len(out.shape) == len(ref.shape):
        _put_moved(call, labeler, axes)
        return
    for labels in axes.values():
        labeler.pin(labels, call, "elements are picked by a tensor of positions")


def unfold(call: OpCall, labeler: Labeler) -> None:
    """``tensor.unfold(dim, size, step)``: windows along one dimension become a new last one."""
    ref = call.inputs[0]
    dim = call["dimension"] % max(len(ref.shape), 1)
    axes = labeler.pin_dims(call, ref, [dim], "windows run along the channel dimension")
    _put_moved(call, labeler, axes)


_SAME = (
    "alias detach contiguous _to_copy lift_fresh lift _conj view_as positive dropout feature_dropout clone "
    "requires_grad resolve_conj resolve_neg to"
)

RULES: dict[str, Rule] = {
    **dict.fromkeys(_SAME.split(), same),
    "permute": permute,
    "transpose": permute,
    "t": permute,
    "unsqueeze": unsqueeze,
    "squeeze": squeeze,
    "expand": expand,
    "repeat": repeat,
    "flip": _along(_flip),
    "roll": _along(_roll),
    "slice": slice_,
    "select": select,
    "unbind": unbind,
    "split": split,
    "split_with_sizes": split,
    "cat": cat,
    "stack": stack,
    "glu": glu,
    "constant_pad_nd": constant_pad,
    "index_select": by_index,
    "index": by_index,
    "unfold": unfold,
}
