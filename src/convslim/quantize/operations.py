"""What the operations of a graph mean for grids."""

from __future__ import annotations

import operator
from typing import Literal

import torch
from torch import Tensor, fx, nn

from convslim.channels.program.layers import kind_of
from convslim.channels.program.rewrite import arguments, packet

Role = Literal["input", "layer", "norm", "clamp", "keep", "join", "sum", "mean", "float", "output", "none"]

LAYERS = ("Conv1d", "Conv2d", "Conv3d", "Linear")
_CLAMPS = {"relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max"}
_JOINS = {"cat", "concat", "concatenate", "stack"}
_SUMS = {"add", "sub", "mul"}
_MEANS = {"mean", *(f"{kind}avg_pool{axes}d" for kind in ("", "adaptive_") for axes in (1, 2, 3))}
_KEEPS = {
    *(f"max_pool{axes}d" for axes in (1, 2, 3)),
    *(f"adaptive_max_pool{axes}d" for axes in (1, 2, 3)),
    *(f"upsample_nearest{axes}d" for axes in (1, 2, 3)),
    *("max_pool2d_with_indices", "amax", "view", "view_as", "reshape", "_unsafe_view", "flatten", "unflatten"),
    *("permute", "transpose", "t", "numpy_T", "movedim", "swapaxes", "squeeze", "unsqueeze", "contiguous", "clone"),
    *("slice", "select", "narrow", "expand", "expand_as", "repeat", "detach", "alias", "flip", "roll", "unbind"),
    *("split", "split_with_sizes", "chunk", "tensor_split", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
    *("dropout", "feature_dropout", "reflection_pad2d", "replication_pad2d"),
}
_PADS = {"pad", "constant_pad_nd"}
_KEEPING_MODULES = ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d")


def is_real(value: object) -> bool:
    """True for a floating-point tensor."""
    return isinstance(value, Tensor) and value.is_floating_point()


def role(node: fx.Node, modules: dict[str, nn.Module], tensors: set[fx.Node]) -> Role:
    """What a node does to numbers on a grid.

    ``keep``: its results are numbers of its input, or zeros. ``join``: of its inputs. ``clamp``: of its input, clamped.
    ``sum``, ``mean``: computed from integers, and rounded anew. ``float``: anything else.

    Args:
        node: The node.
        modules: The graph's modules by name.
        tensors: Nodes that give real tensors.
    """
    if node.op == "placeholder":
        return "input" if node in tensors else "none"
    if node.op == "output":
        return "output"
    if node.op == "call_module":
        kind = kind_of(modules[str(node.target)])
        if kind in LAYERS:
            return "layer"
        if kind.startswith("BatchNorm"):
            return "norm"
        return "keep" if kind in _KEEPING_MODULES else "float"
    if node.target is operator.getitem:
        return "keep" if node in tensors else "none"
    name = packet(node)
    if not name:
        return "none"
    if name in _JOINS:
        return "join"
    if is_clamp(node):
        return "clamp"
    if name in _KEEPS or (name in _PADS and _pads_with_zeros(node)):
        return "keep"
    if name in _MEANS:
        return "mean"
    both = name in _SUMS and len(node.args) > 1 and all(operand in tensors for operand in node.args[:2])
    return "sum" if both and node.kwargs.get("alpha", 1) == 1 else "float"


def is_clamp(node: fx.Node) -> bool:
    """True for a node that clamps between two fixed numbers."""
    return packet(node) in _CLAMPS and _has_plain_ends(node)


def _has_plain_ends(node: fx.Node) -> bool:
    return all(end is None or isinstance(end, int | float) for end in node.args[1:])


def _pads_with_zeros(node: fx.Node) -> bool:
    named = arguments(node)
    return named.get("mode", "constant") != "constant" or not named.get("value")


def ends_of(node: fx.Node) -> tuple[float, float]:
    """Between which numbers a ``clamp`` node clamps.

    >>> graph = fx.Graph()
    >>> x = graph.placeholder("x")
    >>> ends_of(graph.call_function(torch.ops.aten.hardtanh.default, (x, 0.0, 6.0)))
    (0.0, 6.0)
    """
    named, name = arguments(node), packet(node)
    if name in ("relu", "relu6"):
        return 0.0, 6.0 if name == "relu6" else float("inf")
    low, high = (named.get(key) for key in (("min_val", "max_val") if name == "hardtanh" else ("min", "max")))
    return float("-inf") if low is None else float(low), float("inf") if high is None else float(high)


def operands(node: fx.Node, tensors: set[fx.Node]) -> list[fx.Node]:
    """The nodes whose numbers a node works on: all tensors of a join or sum, the first argument of others."""
    if node.op == "output":
        return [operand for operand in node.all_input_nodes if operand in tensors]
    name = packet(node)
    if name in _JOINS or name in _SUMS:
        return [operand for operand in node.all_input_nodes if operand in tensors]
    first = node.args[0] if node.args else None
    return [first] if isinstance(first, fx.Node) and first.op != "get_attr" else []


def out_of_place_(graph: fx.Graph) -> None:
    """``relu_`` and ``add_`` become ``relu`` and ``add`` where nobody reads the overwritten tensor afterwards."""
    order = {node: number for number, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        name = packet(node)
        if not name.endswith("_") or not node.args or not isinstance(node.args[0], fx.Node):
            continue
        target = node.target
        assert isinstance(target, torch._ops.OpOverload)
        functional = getattr(torch.ops.aten, name.removesuffix("_"), None)
        later = any(order[user] > order[node] for user in node.args[0].users)
        if functional is not None and target._overloadname in functional.overloads() and not later:
            node.target = getattr(functional, target._overloadname)
