"""A network of one layer, written as ONNX in milliseconds: for latency only the shape counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from convslim.measure.kernels import Kernel, profile_onnx
from convslim.measure.layer_shape import LayerShape

Build = Callable[[LayerShape], bytes]
"""Writes the ONNX model of one layer; its first input is ``x``."""

AROUND: Final = frozenset({"ReorderInput", "ReorderOutput", "QuantizeLinear", "DequantizeLinear", "Transpose"})
"""Kernels that bring data into the layer's layout and type. In a whole network they mostly stand at its ends only."""

OPSET: Final = 18
IR_VERSION: Final = 10

TARGET_MS: Final = 4.0
MIN_RUNS, MAX_RUNS = 10, 60


def float_layer(shape: LayerShape) -> bytes:
    """The layer in float32 with a bias; convolutions are followed by a ReLU, which the runtime fuses.

    >>> len(float_layer(LayerShape("linear", 1, 8, 4))) > 4 * 8 * 4
    True
    """
    from onnx import helper

    rng = np.random.default_rng(0)
    weight = rng.standard_normal(shape.weight_shape, dtype=np.float32) / max(shape.in_channels, 1) ** 0.5
    constants = {"weight": weight, "bias": np.zeros(shape.out_channels, np.float32)}
    if shape.kind == "linear":
        nodes = [helper.make_node("Gemm", ["x", "weight", "bias"], ["y"], transB=1)]
    else:
        operation = "Conv" if shape.kind == "conv" else "ConvTranspose"
        conv = helper.make_node(operation, ["x", "weight", "bias"], ["made"], **conv_attributes(shape))
        nodes = [conv, helper.make_node("Relu", ["made"], ["y"])]
    return one_layer_model(shape, nodes, constants)


def one_layer_model(shape: LayerShape, nodes: Sequence[Any], constants: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """An ONNX model from ``x``, the layer's input in float32, to ``y``."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape.input_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION).SerializeToString())


def conv_attributes(shape: LayerShape) -> dict[str, Any]:
    """Attributes of ONNX's Conv or ConvTranspose."""
    attributes: dict[str, Any] = {
        "group": shape.groups,
        "kernel_shape": shape.kernel,
        "strides": shape.stride,
        "pads": (*shape.padding, *shape.padding),
        "dilations": shape.dilation,
    }
    if shape.kind == "conv_transpose":
        attributes["output_padding"] = shape.output_padding
    return attributes


def layer_ms(shape: LayerShape, build: Build = float_layer, threads: int = 1) -> float:
    """Milliseconds that ONNX Runtime's kernels of one layer take, without what stands around them.

    >>> layer_ms(LayerShape("linear", 1, 64, 64)) > 0
    True
    """
    model = build(shape)
    images = {"x": np.random.default_rng(0).standard_normal(shape.input_shape, dtype=np.float32)}
    once = _total(profile_onnx(model, images, threads=threads, repeats=2, warmup=1))
    runs = int(np.clip(TARGET_MS / once, MIN_RUNS, MAX_RUNS))
    return _total(profile_onnx(model, images, threads=threads, repeats=runs, warmup=2))


def _total(kernels: tuple[Kernel, ...]) -> float:
    return sum(kernel.ms for kernel in kernels if kernel.operation not in AROUND)
