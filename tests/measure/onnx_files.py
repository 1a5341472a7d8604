"""Small ONNX files, float and int8, made without an exporter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

CHANNELS = 8


def write(path: Path, nodes: Sequence[Any], constants: dict[str, np.ndarray], shape: Sequence[Any]) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def weights(out: int, read: int) -> np.ndarray:
    return np.random.default_rng(out).standard_normal((out, read, 3, 3)).astype(np.float32)


def float_file(path: Path, shape: Sequence[Any] = ("batch", 3, 8, 8), num_layers: int = 2) -> Path:
    """Convolutions `first`, `second`, … with ReLUs between them."""
    nodes, constants, value, read = [], {}, "input", 3
    for number in range(num_layers):
        name = f"block.{number}"
        constants[f"{name}.weight"] = weights(CHANNELS, read)
        last = number == num_layers - 1
        nodes.append(helper.make_node("Conv", [value, f"{name}.weight"], [f"made{number}"], f"node_conv_{number}"))
        nodes.append(helper.make_node("Relu", [f"made{number}"], ["output" if last else f"relu{number}"]))
        value, read = f"relu{number}", CHANNELS
    return write(path, nodes, constants, shape)


def int8_file(path: Path) -> Path:
    """A convolution `first` in integers, and a convolution `second` in float."""
    constants: dict[str, np.ndarray] = {
        "scale": np.array(0.05, np.float32),
        "zero": np.array(128, np.uint8),
        "weight_zero": np.array(0, np.int8),
        "first.weight": np.random.default_rng(0).integers(-127, 127, (CHANNELS, 3, 3, 3)).astype(np.int8),
        "second.weight": weights(4, CHANNELS),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "scale", "zero"], ["q0"]),
        helper.make_node("DequantizeLinear", ["q0", "scale", "zero"], ["d0"]),
        helper.make_node("DequantizeLinear", ["first.weight", "scale", "weight_zero"], ["w"]),
        helper.make_node("Conv", ["d0", "w"], ["made"], "node_first"),
        helper.make_node("QuantizeLinear", ["made", "scale", "zero"], ["q1"]),
        helper.make_node("DequantizeLinear", ["q1", "scale", "zero"], ["d1"]),
        helper.make_node("Conv", ["d1", "second.weight"], ["output"], "node_second"),
    ]
    return write(path, nodes, constants, ("batch", 3, 8, 8))
