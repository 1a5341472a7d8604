"""The graph that is written as an int8 file: QuantizeLinear and DequantizeLinear for grids, int8 for weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn

from convslim.channels.program.rewrite import drop_unused_
from convslim.quantize.fake import ActivationQuantizer
from convslim.quantize.grid import ACTIVATION_LEVELS, Grid, to_integers
from convslim.quantize.layer import Folded, QuantizedLayer, run
from convslim.quantize.prepare import GRID, HOLDER, RANK, call_of, grids_of

FILE = "int8"
"""The module that holds what is in the file."""

VERSION = 18  # of the two operators, whose int8 form is older


def quantize_linear(x: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    """ONNX's QuantizeLinear."""
    return torch.onnx.ops.symbolic(
        "QuantizeLinear", (x, scale, zero_point), dtype=torch.uint8, shape=x.shape, version=VERSION
    )


def dequantize_linear(q: Tensor, scale: Tensor, zero_point: Tensor, axis: int | None = None) -> Tensor:
    """ONNX's DequantizeLinear, with one scale or one for every index of an axis."""
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    return torch.onnx.ops.symbolic(
        "DequantizeLinear",
        (q, scale, zero_point),
        attrs=attributes,
        dtype=torch.float32,
        shape=q.shape,
        version=VERSION,
    )


class _Integers(nn.Module):
    """A layer's integers, under the names that they have in the file."""

    def __init__(self, folded: Folded, transposed: bool) -> None:
        super().__init__()
        self.axis = 1 if transposed else 0
        self.register_buffer("weight", folded.weight.T.contiguous() if transposed else folded.weight.contiguous())
        self.register_buffer("weight_scale", folded.weight_scale)
        self.register_buffer("weight_zero_point", torch.zeros_like(folded.weight_scale, dtype=torch.int8))
        self.register_buffer("bias", folded.bias)
        self.register_buffer("bias_scale", folded.bias_scale)
        self.register_buffer("bias_zero_point", torch.zeros_like(folded.weight_scale, dtype=torch.int32))


class _Layer(nn.Module):
    """A layer over integers: DequantizeLinear of its weight and bias, and its arithmetic."""

    def __init__(self, folded: Folded, layer: nn.Module, rank: int) -> None:
        super().__init__()
        # Products of matrices with more than two dimensions have no form with a transposed weight.
        self.transposed = isinstance(layer, nn.Linear) and rank > 2
        self.integers = _Integers(folded, self.transposed)
        self.numbers = (layer,)  # strides and the like; its tensors stay out of the file

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output."""
        own: Any = self.integers
        weight = dequantize_linear(own.weight, own.weight_scale, own.weight_zero_point, own.axis)
        bias = None if own.bias is None else dequantize_linear(own.bias, own.bias_scale, own.bias_zero_point, 0)
        if not self.transposed:
            return run(self.numbers[0], x, weight, bias)
        y = torch.matmul(x, weight)
        return y if bias is None else y + bias


class _Rounding(nn.Module):
    """A grid as QuantizeLinear and DequantizeLinear."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.register_buffer("scale", grid.scale.detach().clone())
        self.register_buffer("zero_point", grid.zero_point.to(torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        """Round."""
        return dequantize_linear(quantize_linear(x, self.scale, self.zero_point), self.scale, self.zero_point)


def int8_graph(simulation: fx.GraphModule) -> fx.GraphModule:
    """A copy of a simulation that ``torch.onnx`` writes as a file of integers.

    Clamping that the grid behind it does anyway (ReLU before a grid with Z = 0) is left out; operations that hand
    numbers of a grid on are followed by the same grid, as runtimes want it.

    Raises:
        ModelError: If a grid was never calibrated.
    """
    built = copy.deepcopy(simulation).eval()
    grids = {name: quantizer.grid() for name, quantizer in grids_of(built).items()}
    for name, grid in grids.items():
        built.add_submodule(f"{FILE}.grids.{name}", _Rounding(grid))
    for node in list(built.graph.nodes):
        module = built.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, ActivationQuantizer):
            place = node.args[1]
            assert isinstance(place, int)
            _write_grid_(node, grids[node.meta[GRID]], module.ends[place])
        elif isinstance(module, QuantizedLayer):
            _write_layer_(built, node, module, grids)
        elif GRID in node.meta:
            _round_(node)
    drop_unused_(built.graph)
    built.graph.erase_node(next(node for node in built.graph.nodes if node.target == f"{HOLDER}.clock"))
    built.delete_all_unused_submodules()
    built.recompile()
    return built


def _round_(node: fx.Node) -> None:
    """Put a node's result on its grid once more."""
    graph = node.graph
    with graph.inserting_after(node):
        again = graph.call_module(f"{FILE}.grids.{node.meta[GRID]}")
    node.replace_all_uses_with(again)
    again.args = (node,)


def _write_grid_(node: fx.Node, grid: Grid, ends: tuple[float, float]) -> None:
    read = node.all_input_nodes[0]
    if to_integers(torch.tensor(ends), grid).tolist() != [0, ACTIVATION_LEVELS]:
        # Integer kernels give integers of a grid, so that clamping is an operation of its own on the same one.
        read.meta[GRID] = node.meta[GRID]
        with node.graph.inserting_before(node):
            node.args = (node.graph.call_function(torch.clamp, (read, *ends)), *node.args[1:])
        _round_(read)
    node.target, node.args = f"{FILE}.grids.{node.meta[GRID]}", (node.args[0],)


def _write_layer_(built: fx.GraphModule, node: fx.Node, module: QuantizedLayer, grids: dict[str, Grid]) -> None:
    call = call_of(node)
    held = built.get_submodule(call.layer)
    norm = None if call.norm is None else built.get_submodule(call.norm)
    folded = module.fold(held, norm, grids[call.grid])
    target = f"{FILE}.{call.layer}"
    while _has(built, target):
        target += "_again"
    built.add_submodule(target, _Layer(folded, held, node.meta[RANK]))
    node.target, node.args = target, (call.source,)


def _has(built: fx.GraphModule, path: str) -> bool:
    return any(name == path for name, _ in built.named_modules())
