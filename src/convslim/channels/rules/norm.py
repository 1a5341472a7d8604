"""Normalization. With statistics per channel the removal is exact; over channels it changes what the others become."""

import numpy as np

from convslim.channels.labeler import Labeler, Rule
from convslim.channels.labels import Vector
from convslim.channels.tape import OpCall
from convslim.channels.values import Axes


def batch_norm(call: OpCall, labeler: Labeler) -> None:
    """Weight, bias and running statistics are per channel of dimension 1."""
    features, parameters = call.inputs[0], call.inputs[1:]
    axes = dict(labeler.axes(features))
    bound = call.bound
    uses_batch = bool(bound.get("training")) or bound.get("running_mean") is None
    for dim in axes:
        if uses_batch and dim != 1:
            # Standardized weights: the statistics of a filter are taken over the channels that it reads.
            labeler.renormalize(axes[dim], call, "statistics are taken over the channels")
    labels = axes.get(1)
    if labels is not None and not parameters:
        # Instance normalization runs as a batch normalization over a view of (sample, channel) pairs.
        labeler.count(call, "num_features", labels[: labeler.shape_before_view(features)[1]])
    for parameter in parameters:
        own = labeler.axes(parameter).get(0)
        if own is not None and labels is not None:
            labeler.unite(labels, own, call, labeler.value(features).origin)
        elif own is not None:
            labeler.pin(own, call, f"the channels are {labeler.value(features).origin}")
    labeler.put(call.outs[0], axes, origin=labeler.value(features).origin)
    for statistic in call.outs[1:]:
        if labels is not None and statistic.shape == labels.shape:
            labeler.put(statistic, {0: labels})


def group_norm(call: OpCall, labeler: Labeler) -> None:
    """Whole normalization groups go, which is exact, or equal positions of all of them, which is approximate.

    Whichever leaves more to decide is tried first; a single normalization group can only shrink.
    """
    features, parameters = call.inputs[0], call.inputs[1:]
    axes = dict(labeler.axes(features))
    for parameter in parameters:
        own = labeler.axes(parameter).get(0)
        if own is not None and 1 in axes:
            labeler.unite(axes[1], own, call)
    groups: Axes = {0: axes[0]} if 0 in axes else {}
    for dim, labels in axes.items():
        if dim == 1:
            groups |= _shrink_group_norm(call, labeler, labels)
        elif dim > 1:
            labeler.renormalize(labels, call, "group normalization runs over the channels")
    labeler.put(call.outs[0], axes)
    for statistic in call.outs[1:]:
        labeler.put(statistic, groups)


def _shrink_group_norm(call: OpCall, labeler: Labeler, labels: Vector) -> Axes:
    """Labels of the normalization groups, if whole ones go."""
    parts = call["group"]
    per_group = len(labels) // parts
    options = [_whole_normalization_groups, _equal_positions]
    if labeler.decide(call, int(parts < per_group)):
        options.reverse()
    if parts == 1 or per_group == 1:
        options = [_equal_positions if parts == 1 else _whole_normalization_groups]
    chosen = labeler.choose(call, len(options))
    if chosen == len(options):
        labeler.pin(labels, call, "the number of normalization groups is fixed in the code")
        return {}
    return options[chosen](call, labeler, labels)


def _whole_normalization_groups(call: OpCall, labeler: Labeler, labels: Vector) -> Axes:
    grid = labels.reshape(call["group"], -1)
    labeler.unite(np.broadcast_to(grid[:, :1], grid.shape), grid, call)
    if grid.shape[1] > 1:
        labeler.constrain(grid[:, 0], call, f"normalization groups of {grid.shape[1]} channels are removed whole")
    labeler.count(call, "num_groups", grid[:, 0])
    return {1: grid[:, 0]}


def _equal_positions(call: OpCall, labeler: Labeler, labels: Vector) -> Axes:
    parts = call["group"]
    if parts > 1:
        labeler.tie_parts(call, labels, parts, f"equal positions of the {parts} normalization groups go together")
    labeler.renormalize(labels, call, "group normalization runs over several channels")
    return {}


def layer_norm(call: OpCall, labeler: Labeler) -> None:
    """``(x - mean) / std`` over the last dimensions, or ``x / rms``: approximate if channels are among them."""
    features = call.inputs[0]
    first = len(features.shape) - len(call["normalized_shape"])
    axes = dict(labeler.axes(features))
    for dim, labels in axes.items():
        if dim >= first:
            labeler.renormalize(labels, call, "layer normalization runs over the channels")
    for parameter in call.inputs[1:]:
        for dim, own in labeler.axes(parameter).items():
            if first + dim in axes:
                labeler.unite(axes[first + dim], own, call)
            else:
                labeler.pin(own, call, "layer normalization scales what carries no channels")
    labeler.put(call.outs[0], axes)
    for statistic in call.outs[1:]:
        labeler.put(statistic, {dim: labels for dim, labels in axes.items() if dim < first})


def weight_norm(call: OpCall, labeler: Labeler) -> None:
    """``w = g * v / |v|``: the norm runs over every dimension but ``dim``, which stays free."""
    direction, magnitude = call.inputs
    dim = call["dim"]
    axes = labeler.axes(direction)
    for other, labels in axes.items():
        if other != dim:
            labeler.renormalize(labels, call, "weight normalization runs over these channels")
    own = labeler.axes(magnitude).get(dim)
    if own is not None and dim in axes:
        labeler.unite(axes[dim], own, call)
    labeler.put(call.outs[0], dict(labeler.axes(direction)))
    labeler.put(call.outs[1], {dim: axes[dim]} if dim in axes else {})


_BATCH_NORMS = (
    "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training _batch_norm_with_update "
    "_batch_norm_no_update cudnn_batch_norm miopen_batch_norm"
)

RULES: dict[str, Rule] = {
    **dict.fromkeys(_BATCH_NORMS.split(), batch_norm),
    "native_group_norm": group_norm,
    **dict.fromkeys(("native_layer_norm", "_fused_rms_norm"), layer_norm),
    "_weight_norm_interface": weight_norm,
}
