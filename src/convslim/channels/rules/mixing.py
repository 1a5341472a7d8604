"""Operations that mix channels: convolutions and matrix products.

They end the life of the channels they read and begin that of the channels they make. The labels of what they make are
the labels of the filters themselves, so a layer that is used twice makes the same channels twice.
"""

from __future__ import annotations

import numpy as np

from convslim.channels.labeler import Labeler, Rule
from convslim.channels.labels import Vector
from convslim.channels.tape import OpCall, TensorRef
from convslim.channels.values import Axes, layer, vector


def convolution(call: OpCall, labeler: Labeler) -> None:
    """Convolution, transposed or not, with any number of conv groups.

    The weight is ``(C_out, C_in/groups, *k)``, transposed ``(C_in, C_out/groups, *k)``. With several conv groups either
    equal positions of all groups shrink together, or whole groups go; whichever leaves more to decide is taken, and
    for a depthwise convolution that is the whole groups.
    """
    features, weight = call.inputs[0], call.inputs[1]
    axes = labeler.pin_dims(
        call,
        features,
        [dim for dim in range(len(features.shape)) if dim > 1],
        "a convolution runs over the channels",
    )
    others = [dim for dim in labeler.axes(weight) if dim > 1 and not labeler.value(weight).static]
    labeler.pin_dims(call, weight, others, "the channels are taps of a computed kernel")
    made = _couple(call, labeler, vector(axes, 1, features.shape[1]), weight)
    if len(call.inputs) > 2 and call["bias"] is not None:
        labeler.unite(made, vector(labeler.axes(call.inputs[2]), 0, len(made)), call)
    labeler.produce(made, call)
    batch = {0: axes[0]} if 0 in axes else {}
    labeler.put(call.outs[0], batch | {1: made}, origin=f"the output of {call.module or call.title}")
    _count_taps(call, labeler)


def _count_taps(call: OpCall, labeler: Labeler) -> None:
    """MACs: positions that the kernel visits x channels there x channels on the other side in a conv group x taps."""
    features, weight, out = call.inputs[0], call.inputs[1], call.outs[0]
    visited, other = (features, out) if call["transposed"] else (out, features)
    taps = vector(labeler.axes(weight), 1, weight.shape[1])
    if not taps.any() and call["groups"] == 1:
        taps = vector(labeler.axes(other), 1, other.shape[1])
    batch, channels = (vector(labeler.axes(visited), dim, visited.shape[dim]) for dim in (0, 1))
    dims: list[int | Vector] = [batch, channels, taps, *visited.shape[2:], *weight.shape[2:]]
    labeler.layers.append(layer(call, labeler.value(weight).param, dims))


def _couple(call: OpCall, labeler: Labeler, features: Vector, weight: TensorRef) -> Vector:
    """Unite what a convolution reads with the weight's labels; returns the labels of what it makes."""
    groups, transposed = call["groups"], call["transposed"]
    filters = vector(labeler.axes(weight), 0, weight.shape[0])
    taps = vector(labeler.axes(weight), 1, weight.shape[1])
    if groups == 1:
        read, made = (filters, taps) if transposed else (taps, filters)
        return _read(call, labeler, features, read, made)
    per_group = len(features) // groups
    num_made = call.outs[0].shape[1] // groups
    # Coupled positions leave the in- and out-widths of a group to decide; whole groups leave the groups.
    whole = labeler.decide(call, int(per_group == 1 or groups > per_group + num_made))
    if whole:
        return _whole_groups(call, labeler, features, filters, num_made)
    reads = filters if transposed else np.tile(taps, groups)
    made = np.tile(taps, groups) if transposed else filters
    for labels in (features, made):
        labeler.tie_parts(call, labels, groups, f"equal positions of the {groups} conv groups go together")
    return _read(call, labeler, features, reads, made)


def _read(call: OpCall, labeler: Labeler, features: Vector, reads: Vector, made: Vector) -> Vector:
    labeler.unite(reads, features, call, labeler.value(call.inputs[0]).origin)
    labeler.consume(call, 0, 1, features, reads)
    return made


def _whole_groups(call: OpCall, labeler: Labeler, features: Vector, filters: Vector, num_made: int) -> Vector:
    """Conv groups are removed whole: what a group reads and what it makes are one channel of the graph."""
    groups = call["groups"]
    read = features.reshape(groups, -1)
    labeler.unite(np.broadcast_to(read[:, :1], read.shape), read, call)
    first = read[:, :1]
    own = filters.reshape(groups, -1)
    labeler.unite(own, np.broadcast_to(first, own.shape), call, labeler.value(call.inputs[0]).origin)
    labeler.count(call, "groups", read[:, 0])
    if read.shape[1] > 1:
        labeler.constrain(read[:, 0], call, f"conv groups of {read.shape[1]} channels are removed whole")
        labeler.consume(call, 0, 1, features, None)
    elif num_made > 1:
        labeler.constrain(read[:, 0], call, f"each channel is read by {num_made} depthwise filters")
    return filters if not call["transposed"] else np.repeat(own[:, 0], num_made)


def matmul(call: OpCall, labeler: Labeler) -> None:
    """``mm``, ``bmm``: the inner dimension is read, the outer ones pass, a batch dimension is common."""
    left, right = call.inputs[-2], call.inputs[-1]
    rank = len(left.shape)
    inner_left = vector(labeler.axes(left), rank - 1, left.shape[-1])
    inner_right = vector(labeler.axes(right), rank - 2, right.shape[-2])
    origin = labeler.value(left if labeler.value(right).static else right).origin
    labeler.unite(inner_left, inner_right, call, origin)
    _consume_inner(call, labeler, inner_left, inner_right)
    axes: Axes = {}
    if rank == 3 and (0 in labeler.axes(left) or 0 in labeler.axes(right)):
        axes[0] = vector(labeler.axes(left), 0, left.shape[0])
        labeler.unite(axes[0], vector(labeler.axes(right), 0, right.shape[0]), call)
    axes |= {rank - 2: vector(labeler.axes(left), rank - 2, left.shape[-2])}
    axes |= {rank - 1: vector(labeler.axes(right), rank - 1, right.shape[-1])}
    for ref, other, dim in ((left, right, rank - 2), (right, left, rank - 1)):
        if labeler.value(ref).static and not labeler.value(other).static and dim in labeler.axes(ref):
            labeler.produce(labeler.axes(ref)[dim], call)
    labeler.put(call.outs[0], axes, origin=f"the output of {call.module or call.title}")
    if not (labeler.value(left).static and labeler.value(right).static):
        param = next((labeler.value(ref).param for ref in (right, left) if labeler.value(ref).static), "")
        inner = inner_left if inner_left.any() else inner_right
        made = (vector(axes, dim, size) for dim, size in enumerate(call.outs[0].shape))
        labeler.layers.append(layer(call, param, [*made, inner]))


def _consume_inner(call: OpCall, labeler: Labeler, inner_left: Vector, inner_right: Vector) -> None:
    positions = len(call.inputs) - 2, len(call.inputs) - 1
    rank = len(call.inputs[-1].shape)
    left, right = (labeler.value(ref).static for ref in call.inputs[-2:])
    if not left:
        labeler.consume(call, positions[0], rank - 1, inner_left, inner_right if right else None)
    elif not right:
        labeler.consume(call, positions[1], rank - 2, inner_right, inner_left)


def addmm(call: OpCall, labeler: Labeler) -> None:
    """``bias + left @ right``: a matrix product, and the bias is per output channel."""
    matmul(call, labeler)
    bias, out = call.inputs[0], call.outs[0]
    axes = dict(labeler.axes(out))
    for dim, labels in labeler.axes(bias).items():
        place = dim + len(out.shape) - len(bias.shape)
        if place in axes:
            labeler.unite(axes[place], labels, call)
        else:
            labeler.pin(labels, call, "the channels are added to the output of a product that has none")
    labeler.put(out, axes, origin=labeler.value(out).origin)


RULES: dict[str, Rule] = {
    "convolution": convolution,
    "mm": matmul,
    "bmm": matmul,
    "addmm": addmm,
    "baddbmm": addmm,
}
