"""An int8 file executed with integers only: what firmware has to compute, in NumPy.

Every operation takes integers of grids and gives integers of a grid. Layers sum products of 8-bit integers in int32,
add the int32 bias, multiply by ``M = S_x·S_w / S_y`` in Q31, add Z_y and clamp; sums bring both sides to one scale
first; averages are sums with another multiplier; operations on single numbers are tables of 256 entries; views move
integers. Real numbers occur at the border only: the image on its way in, and accumulators on their way out.

References:
    Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR
    2018. Jacob et al., gemmlowp: a small self-contained low-precision GEMM library, 2015-2022 (rounding).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convslim.errors import ArtifactError, ExportError
from convslim.quantize import integer_operations as integers
from convslim.quantize.integer_operations import Quantized

Array = npt.NDArray[Any]

MOVES = {
    *("Reshape", "Transpose", "Slice", "Concat", "Split", "Squeeze", "Unsqueeze", "Flatten", "Gather", "Expand"),
    *("MaxPool", "Resize", "Identity", "DepthToSpace", "SpaceToDepth", "Pad"),
}
"""Operations whose results are numbers of their input."""

TABLES = {
    *("Relu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "LeakyRelu", "Elu", "Softplus", "Erf", "Gelu"),
}
"""Operations on single numbers."""

COMPUTED: Mapping[str, Callable[..., Array]] = {
    "Conv": integers.convolution,
    "Gemm": integers.product,
    "Add": integers.addition,
    "Mul": integers.multiplication,
    "ReduceMean": integers.mean,
    "GlobalAveragePool": integers.mean,
}
"""Operations that compute with integers, and round to the grid behind them."""


@dataclass
class Run:
    """What one execution found: tensors by name, as integers of grids and other values, and its outputs."""

    values: dict[str, Array]
    outputs: dict[str, Array] = field(default_factory=dict)


class IntegerFile:
    """An int8 file of :func:`convslim.export.export_int8`.

    Args:
        path: The file.

    Raises:
        ArtifactError: If it cannot be read.

    """

    def __init__(self, path: str | Path) -> None:
        import onnx

        try:
            graph = onnx.load(path).graph
        except Exception as error:  # OSError, and protobuf's own classes
            raise ArtifactError(f"{path} is no ONNX file that can be read: {error}.") from error
        self.nodes = list(graph.node)
        self.stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.input, self.outputs = graph.input[0].name, [output.name for output in graph.output]
        self._made = {output: node for node in self.nodes for output in node.output}
        self._readers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def __call__(self, images: Array) -> list[Array]:
        """The file's outputs for normalized float32 images.

        Raises:
            ExportError: If an operation of the file has no form in integers here.
        """
        return list(self.run(images).outputs.values())

    def run(self, images: Array, known: Mapping[str, Array] | None = None) -> Run:
        """Execute the file.

        Args:
            images: What the file takes.
            known: Integers of tensors by name; operations read these where they are given, instead of what the
                operations before computed. With a runtime's integers, every layer is compared on equal input.
        """
        run, known = Run({self.input: images}), known or {}
        found: dict[str, Array] = {}
        for node in self.nodes:
            if node.op_type == "DequantizeLinear":
                continue
            result = self._execute(node, run)
            found |= result
            run.values |= {name: known.get(name, array) for name, array in result.items()}
        run.outputs = {name: self._real(name, run) for name in self.outputs}
        run.values = found
        return run

    def _execute(self, node: Any, run: Run) -> dict[str, Array]:
        """Results of a node by name: of the QuantizeLinear behind it, where one is."""
        if node.op_type == "QuantizeLinear":
            if node.output[0] in run.values:
                return {}
            scale, zero_point = (self.stored[name] for name in node.input[1:])
            return {node.output[0]: integers.rounded(self._real(node.input[0], run), scale, zero_point)}
        operands = [self._quantized(name, run) for name in node.input if name]
        if operands[0] is None:
            return self._plainly(node, [self._value(name, run) for name in node.input if name])
        behind = [self._grid_behind(name) for name in node.output if name]
        if node.op_type in MOVES:
            return self._moved(node, operands, run, behind)
        if node.op_type in TABLES and behind[0] is not None:
            return {behind[0].name: integers.looked_up(node, operands[0], behind[0])}
        if node.op_type in COMPUTED:
            return self._computed(node, operands, behind[0])
        raise ExportError(
            f"Operation {node.op_type} ({node.name}) of the file has no form in integers here, or no grid behind it. "
            f"The reference knows {', '.join(sorted({*COMPUTED, *TABLES, *MOVES}))}."
        )

    def _computed(self, node: Any, operands: list[Quantized | None], behind: Quantized | None) -> dict[str, Array]:
        given = [operand for operand in operands if operand is not None]
        name = node.output[0] if behind is None else behind.name
        return {name: COMPUTED[node.op_type](node, given, behind)}

    def _moved(
        self, node: Any, operands: list[Quantized | None], run: Run, behind: list[Quantized | None]
    ) -> dict[str, Array]:
        first = operands[0]
        assert first is not None
        pairs = zip((name for name in node.input if name), operands, strict=True)
        arguments = [self._value(name, run) if held is None else held.q for name, held in pairs]
        results = integers.moved(node, arguments, int(first.zero_point))
        named = zip(behind, (name for name in node.output if name), results, strict=True)
        return {grid.name if grid is not None else name: result for grid, name, result in named}

    def _plainly(self, node: Any, arguments: list[Array]) -> dict[str, Array]:
        """Sizes and the like."""
        if any(argument.dtype.kind == "f" and argument.ndim > 1 for argument in arguments):
            raise ExportError(f"Operation {node.op_type} ({node.name}) of the file works on real numbers.")
        return dict(zip(node.output, integers.evaluated(node, arguments), strict=False))

    def _value(self, name: str, run: Run) -> Array:
        return self.stored[name] if name in self.stored else run.values[name]

    def _quantized(self, name: str, run: Run) -> Quantized | None:
        """The integers behind a DequantizeLinear; None for other values."""
        node = self._made.get(name)
        if node is None or node.op_type != "DequantizeLinear":
            return None
        source, scale = node.input[0], self.stored[node.input[1]]
        return Quantized(source, self._value(source, run), scale, self.stored[node.input[2]])

    def _grid_behind(self, name: str) -> Quantized | None:
        """The grid to which the only reader of a tensor rounds it."""
        readers = self._readers.get(name, [])
        if len(readers) != 1 or readers[0].op_type != "QuantizeLinear":
            return None
        node = readers[0]
        return Quantized(node.output[0], np.zeros(0), self.stored[node.input[1]], self.stored[node.input[2]])

    def _real(self, name: str, run: Run) -> Array:
        held = self._quantized(name, run)
        if held is None:
            return run.values[name]
        return (held.q.astype(np.float32) - held.zero_point.astype(np.float32)) * held.scale


@dataclass(frozen=True)
class Agreement:
    """The reference beside ONNX Runtime, for one tensor of integers.

    Attributes:
        operation: The operation that made it, a layer's name.
        largest: Largest difference in steps.
        share: Share of the values that differ.
    """

    operation: str
    largest: int
    share: float


def compare_with_runtime(path: str | Path, images: Array) -> list[Agreement]:
    """Every operation of a file on ONNX Runtime's own integers, and how far the results are from ONNX Runtime's.

    Raises:
        ArtifactError: If the file cannot be read.
        ExportError: If an operation of the file has no form in integers here.
    """
    import onnx
    import onnxruntime

    file = IntegerFile(path)
    model = onnx.load(path)
    names = [node.output[0] for node in file.nodes if node.op_type == "QuantizeLinear"]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    known = dict(zip(names, session.run(names, {file.input: images}), strict=True))
    found = file.run(images, known).values
    makers = {node.input[0]: node for node in file.nodes if node.op_type == "QuantizeLinear"}
    named = {makers[name].output[0]: node.name for node in file.nodes for name in node.output if name in makers}
    compared = [(named.get(name, name), found[name].astype(np.int64) - known[name]) for name in names]
    return [Agreement(name, int(np.abs(gap).max()), float((gap != 0).mean())) for name, gap in compared]
