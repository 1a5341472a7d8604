"""Cross-layer equalization: channels of one layer get equal ranges, and the next layer takes the factors back."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx

from convslim.quantize.fake import UNLIMITED, ActivationQuantizer
from convslim.quantize.layer import affine_of
from convslim.quantize.prepare import LAYER, call_of, calls_of


@torch.no_grad()
def equalize_(model: fx.GraphModule, rounds: int = 3) -> tuple[tuple[str, str], ...]:
    """Scale the channels between two layers so that both use their integers equally well; in place, exact.

    For layer 1, its BatchNorm, ReLU or nothing, and layer 2 as the only reader, channel c is divided by
    ``s_c = √(r1_c / r2_c)`` in layer 1 and multiplied by it in layer 2; r1_c and r2_c are the largest weights that make
    and read the channel, relative to their layers' largest. Both layers' functions together do not change, since
    ``relu(x/s) = relu(x)/s`` for s > 0. ReLU6 and other activations do not have this property and are left alone.

    Activations of equal range profit (one scale for all channels of a layer); weights have a scale per channel anyway.

    Args:
        model: A simulation, before its calibration.
        rounds: How often to go over all pairs, since layers belong to two of them.

    Returns:
        The pairs of layers.

    References:
        Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019.
    """
    pairs = [(first, second) for first in calls_of(model).values() if (second := _reader(model, first)) is not None]
    for _ in range(rounds):
        for first, second in pairs:
            _equalize_pair_(model, first, second)
    return tuple((first.meta[LAYER], second.meta[LAYER]) for first, second in pairs)


def _reader(model: fx.GraphModule, first: fx.Node) -> fx.Node | None:
    """The layer that alone reads another one's channels, through ReLU and grids."""
    node = first
    while len(node.users) == 1:
        node = next(iter(node.users))
        if LAYER in node.meta:
            once = all(
                str(model_node.target) != str(node.target) or model_node is node for model_node in model.graph.nodes
            )
            return node if once and _channels_match(model, first, node) else None
        grid = model.get_submodule(str(node.target)) if node.op == "call_module" else None
        if not isinstance(grid, ActivationQuantizer) or grid.ends[0] not in (UNLIMITED, (0.0, math.inf)):
            return None
    return None


def _channels_match(model: fx.GraphModule, first: fx.Node, second: fx.Node) -> bool:
    """True if input channel c of the second is output channel c of the first, whose factors can be put somewhere."""
    layers: Any = [model.get_submodule(node.meta[LAYER]) for node in (first, second)]
    weights = [layer.weight for layer in layers]
    norm = call_of(first).norm
    free = norm is None or model.get_submodule(norm).weight is not None
    groups = getattr(layers[1], "groups", 1)
    return free and len(weights[0]) == weights[1].shape[1] * groups and groups in (1, len(weights[1]))


def _equalize_pair_(model: fx.GraphModule, first: fx.Node, second: fx.Node) -> None:
    one, norm = _parts(model, first)
    other, other_norm = _parts(model, second)
    factor = affine_of(norm, len(one.weight), one.weight)[0].abs()
    made = one.weight.abs().flatten(1).amax(1) * factor
    depthwise = getattr(other, "groups", 1) > 1
    read = other.weight.abs().flatten(1).amax(1) if depthwise else other.weight.abs().transpose(0, 1).flatten(1).amax(1)
    if depthwise:
        read = read * affine_of(other_norm, len(read), read)[0].abs()
    usable = (made > 0) & (read > 0)
    scale = torch.where(usable, (made * read).sqrt() / read.clamp(min=1e-12), torch.ones_like(made)).clamp(1e-3, 1e3)
    held = norm if norm is not None else one
    _divide_(held.weight, scale)
    if held.bias is not None:
        _divide_(held.bias, scale)
    shape = (-1, *[1] * (other.weight.dim() - 1)) if depthwise else (1, -1, *[1] * (other.weight.dim() - 2))
    other.weight.mul_(scale.reshape(shape))


def _divide_(tensor: Tensor, scale: Tensor) -> None:
    tensor.div_(scale.reshape(-1, *[1] * (tensor.dim() - 1)))


def _parts(model: fx.GraphModule, node: fx.Node) -> tuple[Any, Any]:
    """The layer that a node calls, and its BatchNorm or None."""
    call = call_of(node)
    return model.get_submodule(call.layer), None if call.norm is None else model.get_submodule(call.norm)
