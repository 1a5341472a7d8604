"""Which layer of the network a kernel of ONNX Runtime computes: fused nodes carry names of values, not of layers."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

LAYERS: Final = frozenset(
    {"Conv", "ConvInteger", "ConvTranspose", "FusedConv", "FusedGemm", "FusedMatMul", "Gemm", "MatMul"}
    | {"MatMulInteger", "NhwcFusedConv", "QGemm", "QLinearConv", "QLinearMatMul"}
)
"""Operations of convolutions and linear layers, float and integer, as files and as ONNX Runtime call them."""

_ADDED: Final = re.compile(r"(_nchwc|_nhwc|_quant|_token_\d+)+$")


class LayerNames:
    """Names of a file's layers, by the names that ONNX Runtime gives their kernels.

    A kernel is named after a node of the file, or after the last value that it computes, with additions. The layer is
    the convolution or matrix product nearest before that value, and is called what its weight is called.
    """

    def __init__(self, model: str | Path | bytes) -> None:
        import onnx

        loaded: Any = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(str(model))
        graph = loaded.graph
        self._makers: Mapping[str, Any] = {value: node for node in graph.node for value in node.output}
        self._nodes: Mapping[str, Any] = {node.name: node for node in graph.node if node.name}
        self._stored = {tensor.name for tensor in graph.initializer}

    def layer(self, kernel: str) -> str:
        """The layer's dotted module name; empty if it cannot be told.

        Args:
            kernel: Name of a kernel that computes a layer.
        """
        name = _ADDED.sub("", kernel)
        start = self._nodes.get(name) or self._makers.get(name)
        return "" if start is None else self._nearest(start)

    def _nearest(self, start: Any) -> str:
        waiting = deque([start])
        seen = set()
        while waiting:
            node = waiting.popleft()
            if node.op_type in LAYERS:
                return self._weight(node).removesuffix(".weight")
            for value in node.input:
                if value in self._makers and value not in seen:
                    seen.add(value)
                    waiting.append(self._makers[value])
        return ""

    def _weight(self, node: Any) -> str:
        """The stored tensor that a layer multiplies with: directly, or dequantized or transposed before."""
        value = node.input[1]
        while value not in self._stored:
            maker = self._makers.get(value)
            if maker is None or not maker.input:
                return ""
            value = maker.input[0]
        return str(value)
