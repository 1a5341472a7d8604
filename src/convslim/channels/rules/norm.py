"""Normalization. With statistics per channel the removal is exact; over channels it would change the function."""

from convslim.channels.labeler import Labeler, Rule
from convslim.channels.tape import OpCall


def batch_norm(call: OpCall, labeler: Labeler) -> None:
    """Weight, bias and running statistics are per channel of dimension 1."""
    features, parameters = call.inputs[0], call.inputs[1:]
    axes = dict(labeler.axes(features))
    bound = call.bound
    uses_batch = bool(bound.get("training")) or bound.get("running_mean") is None
    if uses_batch:
        others = [dim for dim in axes if dim != 1]
        axes = labeler.pin_dims(call, features, others, "statistics are taken over the channels")
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
    """Exact only where every conv group is one channel; otherwise removing one changes the others' values."""
    features, parameters = call.inputs[0], call.inputs[1:]
    axes = dict(labeler.axes(features))
    if call["group"] != call["C"]:
        labeler.pin_inputs(call, "group normalization mixes the statistics of several channels")
    for parameter in parameters:
        own = labeler.axes(parameter).get(0)
        if own is not None and 1 in axes:
            labeler.unite(axes[1], own, call)
    labeler.put(call.outs[0], axes)
    for statistic in call.outs[1:]:
        if call["group"] == call["C"]:
            labeler.put(statistic, axes)


def layer_norm(call: OpCall, labeler: Labeler) -> None:
    """The normalized dimensions are pinned: removing a channel changes the mean and variance of the rest."""
    features = call.inputs[0]
    first = len(features.shape) - len(call["normalized_shape"])
    reason = "layer normalization runs over the channels"
    labeler.pin_dims(call, features, range(first, len(features.shape)), reason)
    axes = dict(labeler.axes(features))
    for parameter in call.inputs[1:]:
        for dim, own in labeler.axes(parameter).items():
            if first + dim in axes:
                labeler.unite(axes[first + dim], own, call)
            else:
                labeler.pin(own, call, reason)
    labeler.put(call.outs[0], axes)
    for statistic in call.outs[1:]:
        labeler.put(statistic, {dim: labels for dim, labels in axes.items() if dim < first})


def weight_norm(call: OpCall, labeler: Labeler) -> None:
    """``w = g * v / |v|``: the norm runs over every dimension but ``dim``, which stays free."""
    direction, magnitude = call.inputs
    dim = call["dim"]
    others = [other for other in labeler.axes(direction) if other != dim]
    axes = labeler.pin_dims(call, direction, others, "weight normalization runs over these channels")
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
    "native_layer_norm": layer_norm,
    "_weight_norm_interface": weight_norm,
}
