"""Which kernels ONNX Runtime really runs for a file: integer ones, or float ones in between."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from convslim.errors import ExportError

INTEGER = {
    "QLinearConv",
    "QLinearMatMul",
    "QGemm",
    "ConvInteger",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
}
"""Operations of ONNX Runtime that multiply integers."""

FLOAT = {"Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"}
"""Those that multiply real numbers."""


@dataclass(frozen=True)
class Kernels:
    """What ONNX Runtime runs.

    Attributes:
        counts: Nodes of the optimized graph by operation.
        integer: Names of layers with an integer kernel.
        real: Names of layers, convolutions and products with a stored weight, with a float kernel.
    """

    counts: Mapping[str, int]
    integer: tuple[str, ...]
    real: tuple[str, ...]


def check_kernels(path: str | Path) -> Kernels:
    """Let ONNX Runtime optimize a file for this machine's CPU, and read which kernels it chose.

    Raises:
        ExportError: If ONNX Runtime cannot load the file.
    """
    graph = _optimized(Path(path))
    produced = {output: node for node in graph.node for output in node.output}
    stored = {tensor.name for tensor in graph.initializer}
    integer = [_plain(node.name) for node in graph.node if node.op_type in INTEGER]
    layers = [node for node in graph.node if node.op_type in FLOAT and _is_stored(node.input[1], produced, stored)]
    return Kernels(
        counts=dict(Counter(node.op_type for node in graph.node).most_common()),
        integer=tuple(integer),
        real=tuple(_plain(node.name) for node in layers),
    )


def require_integer(kernels: Kernels, layers: Iterable[str], allowed: Iterable[str]) -> None:
    """Refuse quantized layers that run in float, but those that match one of the patterns.

    Raises:
        ExportError: Naming the others.
    """
    patterns, quantized = tuple(allowed), set(layers)
    real = [name for name in kernels.real if name in quantized]
    wrong = [name for name in real if not any(fnmatchcase(name, pattern) for pattern in patterns)]
    if wrong:
        raise ExportError(
            f"ONNX Runtime runs {len(wrong)} layers of the int8 file in float: {', '.join(wrong[:5])}. Keep them float "
            "when quantizing (float_layers), or allow it (allow_float)."
        )


def _optimized(path: Path) -> Any:
    """The graph that ONNX Runtime makes of a file."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that the written graph is meant for this machine
    with tempfile.TemporaryDirectory() as folder:
        optimized = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(optimized)
        try:
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            return onnx.load(optimized).graph
        except Exception as error:  # ONNX Runtime's exception classes share no base but Exception
            raise ExportError(f"ONNX Runtime cannot load {path}: {type(error).__name__}: {error}.") from error


def _is_stored(name: str, produced: Mapping[str, Any], stored: set[str]) -> bool:
    """True for a weight of the file, whatever is done to it before it is used."""
    while name not in stored:
        if name not in produced or not produced[name].input:
            return False
        name = produced[name].input[0]
    return True


def _plain(name: str) -> str:
    """A node's name without what the optimizer puts behind it."""
    for mark in ("_token_", "_nchwc", "_nhwc"):
        name = name.partition(mark)[0]
    return name
