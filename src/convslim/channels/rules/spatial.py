"""Pooling, resizing and padding over space: channels pass, as long as they do not lie along the spatial dimensions."""

from convslim.channels.labeler import Labeler, Rule
from convslim.channels.rules.shape import repeat_labels
from convslim.channels.tape import OpCall
from convslim.channels.values import vector


def _over_last(num_spatial: int) -> Rule:
    def rule(call: OpCall, labeler: Labeler) -> None:
        ref = call.inputs[0]
        first = len(ref.shape) - num_spatial
        axes = labeler.pin_dims(
            call, ref, range(first, len(ref.shape)), f"{call.name} runs along the channel dimension"
        )
        for other in call.inputs[1:]:
            labeler.pin_dims(call, other, range(len(other.shape)), f"{call.name} reads the channels as coordinates")
        for out in call.outs:
            labeler.put(out, axes, origin=labeler.value(ref).origin)

    return rule


def im2col(call: OpCall, labeler: Labeler) -> None:
    """Patches: ``(N, C, H, W)`` becomes ``(N, C*kh*kw, L)``; each channel fills ``kh*kw`` neighbouring rows."""
    ref, out = call.inputs[0], call.outs[0]
    axes = labeler.pin_dims(call, ref, (2, 3), "unfold runs along the channel dimension")
    taps = out.shape[1] // ref.shape[1]
    labeler.put(out, {dim: repeat_labels(labels, taps) if dim == 1 else labels for dim, labels in axes.items()})


def unpool(call: OpCall, labeler: Labeler) -> None:
    """Values go back to where max-pooling took them from; values and positions have the same channels."""
    values, places = call.inputs
    axes = dict(labeler.axes(values))
    for dim, labels in labeler.axes(places).items():
        labeler.unite(vector(axes, dim, len(labels)), labels, call)
    labeler.put(call.outs[0], {dim: labels for dim, labels in axes.items() if dim < 2})


def pool_regions(call: OpCall, labeler: Labeler) -> None:
    """``roi_align(features, boxes)``: each box is a new example, with the channels of the features."""
    features, boxes = call.inputs[:2]
    axes = labeler.pin_dims(call, features, (0, 2, 3), f"{call.name} runs along the channel dimension")
    labeler.pin_dims(call, boxes, range(len(boxes.shape)), f"{call.name} reads the channels as coordinates")
    labeler.put(call.outs[0], axes, origin=labeler.value(features).origin)


_NUM_SPATIAL = {
    1: "avg_pool1d max_pool1d adaptive_avg_pool1d adaptive_max_pool1d upsample_nearest1d upsample_linear1d "
    "_upsample_nearest_exact1d reflection_pad1d replication_pad1d",
    2: "avg_pool2d max_pool2d max_pool2d_with_indices adaptive_max_pool2d _adaptive_avg_pool2d adaptive_avg_pool2d "
    "upsample_nearest2d upsample_bilinear2d upsample_bicubic2d _upsample_nearest_exact2d _upsample_bilinear2d_aa "
    "_upsample_bicubic2d_aa reflection_pad2d replication_pad2d grid_sampler_2d fractional_max_pool2d",
    3: "avg_pool3d max_pool3d_with_indices adaptive_max_pool3d _adaptive_avg_pool3d upsample_nearest3d "
    "upsample_trilinear3d _upsample_nearest_exact3d reflection_pad3d replication_pad3d grid_sampler_3d",
}

RULES: dict[str, Rule] = {
    name: _over_last(num_spatial) for num_spatial, names in _NUM_SPATIAL.items() for name in names.split()
}
RULES |= dict.fromkeys(("torchvision::roi_align", "torchvision::roi_pool"), pool_regions)
RULES["im2col"] = im2col
RULES["max_unpool2d"] = RULES["max_unpool3d"] = unpool
