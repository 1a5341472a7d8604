"""The layers of a traced network that take time, with their widths as functions of the kept channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from convslim.channels.graph import ChannelGraph
from convslim.channels.tape import OpCall
from convslim.measure.layer_shape import Ints, LayerShape


@dataclass(frozen=True)
class Width:
    """A width: ``fixed`` plus, for every pair (group's number, times) in ``times``, times · kept channels."""

    fixed: int
    times: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class TimedLayer:
    """One use of a layer.

    Attributes:
        module: Dotted module name.
        shape: Its shape with all channels.
        read, made: Channels that it reads and makes.
        positions: Elements of the feature map that it makes, for each of its channels.
        whole_groups: True if conv groups go whole, as in a depthwise layer.
    """

    module: str
    shape: LayerShape
    read: Width
    made: Width
    positions: int
    whole_groups: bool


def timed_layers(graph: ChannelGraph, batch: int = 1) -> tuple[TimedLayer, ...]:
    """Convolutions and linear layers in the order in which they run.

    Layers without weights of their own, such as the products of attention, are left out. A layer whose weight is
    computed counts as one that never changes.

    Args:
        graph: The network.
        batch: Images to time with, whatever the example input had.

    >>> import torch
    >>> from convslim.channels.trace import trace
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 4))
    >>> first, second = timed_layers(trace(net, torch.zeros(1, 3, 8, 8)))
    >>> first.made, second.read, second.shape.input_shape
    (Width(fixed=0, times=((0, 1),)), Width(fixed=0, times=((0, 36),)), (1, 288))
    """
    assert graph.evidence is not None, "a traced graph has evidence"
    axes = _free_axes(graph)
    own_groups = {attribute.name for attribute in graph.attributes if attribute.times}
    found = []
    for layer in graph.evidence.labeler.layers:
        call = layer.call
        if not layer.param or call.name not in ("convolution", "mm", "addmm"):
            continue
        images = batch / graph.evidence.tape.model_inputs[0].shape[0]
        shape = _convolution(call, images) if call.name == "convolution" else _linear(call, images)
        widths = {}
        for dim, own in enumerate(_axes_of_weight(shape, graph.tensors[layer.param])):
            held, size = axes.get((layer.param, own), {}), shape.weight_shape[dim]
            widths[dim] = (size - sum(times * graph.groups[group].num_channels for group, times in held.items()), held)
        found.append(_layer(call, shape, widths, bool({f"{call.module}.groups", f"{call.node}:groups"} & own_groups)))
    return tuple(found)


def _axes_of_weight(shape: LayerShape, stored: Ints) -> tuple[int, ...]:
    """Which axes of the stored tensor are the first two of the weight; none if the weight is computed from it."""
    if stored == shape.weight_shape:
        return (0, 1)
    return (1, 0) if shape.kind == "linear" and stored == shape.weight_shape[::-1] else ()


def _free_axes(graph: ChannelGraph) -> dict[tuple[str, int], dict[int, int]]:
    """For every axis of a tensor: positions per channel of each group that may lose some."""
    axes: dict[tuple[str, int], dict[int, int]] = {}
    for number, group in enumerate(graph.groups):
        for axis in group.axes if group.prunable else ():
            held = axes.setdefault((axis.tensor, axis.dim), {})
            held[number] = held.get(number, 0) + axis.index.shape[1]
    return axes


def _layer(
    call: OpCall, shape: LayerShape, widths: dict[int, tuple[int, dict[int, int]]], has_group_count: bool
) -> TimedLayer:
    """Read and made channels over all conv groups, from the weight's axes, which hold one of the two per conv group."""
    transposed = shape.kind == "conv_transpose"
    made, read = (widths.get(dim, (0, {})) for dim in ((1, 0) if transposed else (0, 1)))
    counted = has_group_count or shape.in_channels == shape.groups
    whole = bool(counted and shape.groups > 1 and widths.get(0, (0, {}))[1])
    positions = _product(call.outs[0].shape) // shape.out_channels
    if whole:
        # Reads and makes shrink together; the weight's first axis says by how much.
        fixed, held = widths[0]
        ratio = shape.out_channels // (shape.in_channels if transposed else shape.out_channels)
        both = Width(fixed * ratio, tuple((group, times * ratio) for group, times in sorted(held.items())))
        return TimedLayer(call.module, shape, Width(shape.in_channels), both, positions, True)
    per_group = (shape.groups, 1) if transposed else (1, shape.groups)
    ends = [
        Width(times * fixed, tuple((group, times * number) for group, number in sorted(held.items())))
        if held
        else Width(full)
        for (fixed, held), times, full in zip(
            (made, read), per_group, (shape.out_channels, shape.in_channels), strict=True
        )
    ]
    return TimedLayer(call.module, shape, ends[1], ends[0], positions, False)


def _convolution(call: OpCall, times: float) -> LayerShape:
    images, out = call.inputs[0].shape, call.outs[0].shape
    numbers: dict[str, Any] = {name: tuple(call[name]) for name in ("stride", "padding", "dilation", "output_padding")}
    return LayerShape(
        kind="conv_transpose" if call["transposed"] else "conv",
        batch=round(times * images[0]),
        in_channels=images[1],
        out_channels=out[1],
        groups=call["groups"],
        size=images[2:],
        kernel=call.inputs[1].shape[2:],
        **numbers,
    )


def _linear(call: OpCall, times: float) -> LayerShape:
    left, out = call.inputs[-2].shape, call.outs[0].shape
    return LayerShape("linear", round(times * left[0]), left[1], out[1])


def _product(shape: Ints) -> int:
    elements = 1
    for size in shape:
        elements *= size
    return elements
