"""Operations that move elements: the labels move with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from convslim.channels.labeler import Labeler, Rule
from convslim.channels.labels import Vector
from convslim.channels.rules.parts import put_moved, tie_equal_parts
from convslim.channels.tape import OpCall, TensorRef
from convslim.channels.values import Axes, vector


def same(call: OpCall, labeler: Labeler) -> None:
    """clone, contiguous, detach, casts: nothing moves."""
    value = labeler.value(call.inputs[0])
    put_moved(call, labeler, value.axes, flat=value.flat)


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
    put_moved(call, labeler, {new: axes[old] for new, old in enumerate(order) if old in axes})


def unsqueeze(call: OpCall, labeler: Labeler) -> None:
    """A new dimension of size 1."""
    dim = call["dim"] % len(call.outs[0].shape)
    put_moved(call, labeler, {old + (old >= dim): labels for old, labels in labeler.axes(call.inputs[0]).items()})


def squeeze(call: OpCall, labeler: Labeler) -> None:
    """Dimensions of size 1 go; they carry no channels."""
    shape = call.inputs[0].shape
    given = call.bound.get("dim")
    dims = range(len(shape)) if given is None else [given] if isinstance(given, int) else given
    gone = {dim % len(shape) for dim in dims if shape[dim] == 1}
    axes = labeler.axes(call.inputs[0])
    put_moved(call, labeler, {dim - sum(g < dim for g in gone): v for dim, v in axes.items() if dim not in gone})


def expand(call: OpCall, labeler: Labeler) -> None:
    """New leading dimensions, and repetition of dimensions of size 1: one value all along them."""
    ref, shape = call.inputs[0], call.outs[0].shape
    lead = len(shape) - len(ref.shape)
    value = labeler.value(ref)
    repeated = {dim for dim, size in enumerate(shape) if size > 1 and (dim < lead or ref.shape[dim - lead] == 1)}
    axes = {dim + lead: labels for dim, labels in value.axes.items()}
    put_moved(call, labeler, axes, flat=repeated | {dim + lead for dim in value.flat})


def repeat(call: OpCall, labeler: Labeler) -> None:
    """Tiles: every tile carries the same labels again."""
    ref, out = call.inputs[0], call.outs[0]
    lead = len(out.shape) - len(ref.shape)
    axes = {
        dim + lead: np.tile(labels, out.shape[dim + lead] // ref.shape[dim])
        for dim, labels in labeler.axes(ref).items()
    }
    put_moved(call, labeler, axes)


def _along(move: Callable[[OpCall, Vector, int], Vector]) -> Rule:
    """A rule for operations that rearrange whole slices along some dimensions and leave the rest alone."""

    def rule(call: OpCall, labeler: Labeler) -> None:
        axes = labeler.axes(call.inputs[0])
        put_moved(call, labeler, {dim: move(call, labels, dim) for dim, labels in axes.items()})

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


def unbind(call: OpCall, labeler: Labeler) -> None:
    """All positions of a dimension as tensors of their own."""
    ref = call.inputs[0]
    dim = call["dim"] % len(ref.shape)
    axes = labeler.pin_dims(call, ref, [dim], "the channels are taken apart one by one")
    for out in call.outs:
        labeler.put(out, {old - (old > dim): labels for old, labels in axes.items()})


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
    put_moved(call, labeler, axes, origins[0] if origins else "")


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
        tie_equal_parts(call, labeler, axes[dim], 2)
        axes[dim] = axes[dim][: len(axes[dim]) // 2]
    put_moved(call, labeler, axes)


def stack(call: OpCall, labeler: Labeler) -> None:
    """A new dimension; labels along the others are united."""
    parts = call.inputs
    dim = call["dim"] % len(call.outs[0].shape)
    axes: Axes = {}
    for other in range(len(parts[0].shape)):
        if any(other in labeler.axes(ref) for ref in parts):
            axes[other + (other >= dim)] = _common(call, labeler, parts, other)
    put_moved(call, labeler, axes)


def by_index(call: OpCall, labeler: Labeler) -> None:
    """Picking by a tensor of positions: along channels the positions are fixed numbers, and pin them."""
    ref, out = call.inputs[0], call.outs[0]
    if call.name == "index_select":
        dims = [call["dim"] % len(ref.shape)]
    else:
        dims = [dim for dim, index in enumerate(call["indices"]) if index is not None]
    axes = labeler.pin_dims(call, ref, dims, "channels are picked by fixed numbers")
    if len(dims) == 1 and len(out.shape) == len(ref.shape):
        put_moved(call, labeler, axes)
        return
    for labels in axes.values():
        labeler.pin(labels, call, "elements are picked by a tensor of positions")


def unfold(call: OpCall, labeler: Labeler) -> None:
    """``tensor.unfold(dim, size, step)``: windows along one dimension become a new last one."""
    ref = call.inputs[0]
    dim = call["dimension"] % max(len(ref.shape), 1)
    axes = labeler.pin_dims(call, ref, [dim], "windows run along the channel dimension")
    put_moved(call, labeler, axes)


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
    "unbind": unbind,
    "cat": cat,
    "stack": stack,
    "glu": glu,
    "index_select": by_index,
    "index": by_index,
    "unfold": unfold,
}
