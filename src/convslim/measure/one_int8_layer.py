"""A network of one int8 layer, as integer kernels run it: for latency only the shape counts."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from convslim.measure.layer_shape import LayerShape
from convslim.measure.one_layer import conv_attributes, one_layer_model

SCALE: Final = 0.02
ZERO_POINT: Final = 128


def int8_layer(shape: LayerShape) -> bytes:
    """The layer with uint8 activations, int8 weights per channel and an int32 bias, between QuantizeLinear nodes.

    ONNX Runtime fuses it into one integer kernel.

    >>> len(int8_layer(LayerShape("linear", 1, 64, 64))) < 2 * 64 * 64
    True
    """
    from onnx import helper

    axis = 1 if shape.kind == "conv_transpose" else 0
    num_scales = shape.weight_shape[axis]
    weight = np.random.default_rng(0).integers(-127, 128, shape.weight_shape).astype(np.int8)
    constants: dict[str, npt.NDArray[Any]] = {
        "scale": np.array(SCALE, np.float32),
        "zero": np.array(ZERO_POINT, np.uint8),
        "weight": weight,
        "weight_scale": np.full(num_scales, SCALE, np.float32),
        "weight_zero": np.zeros(num_scales, np.int8),
        "bias": np.zeros(shape.out_channels, np.int32),
        "bias_scale": np.full(shape.out_channels, SCALE * SCALE, np.float32),
        "bias_zero": np.zeros(shape.out_channels, np.int32),
    }
    inputs = ["x_real", "weight_real", "bias_real"]
    operation = {"conv": "Conv", "conv_transpose": "ConvTranspose", "linear": "Gemm"}[shape.kind]
    attributes: dict[str, Any] = {"transB": 1} if shape.kind == "linear" else conv_attributes(shape)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["x_int8"]),
        helper.make_node("DequantizeLinear", ["x_int8", "scale", "zero"], ["x_real"]),
        helper.make_node("DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["weight_real"], axis=axis),
        helper.make_node("DequantizeLinear", ["bias", "bias_scale", "bias_zero"], ["bias_real"], axis=0),
        helper.make_node(operation, inputs, ["made"], **attributes),
        helper.make_node("QuantizeLinear", ["made", "scale", "zero"], ["made_int8"]),
        helper.make_node("DequantizeLinear", ["made_int8", "scale", "zero"], ["y"]),
    ]
    return one_layer_model(shape, nodes, constants)
