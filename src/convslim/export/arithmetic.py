"""What a network is timed in: float32, or 8-bit integers."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import torch
from torch import Tensor, nn

from convslim.export.onnx import export_onnx
from convslim.export.qdq import export_int8
from convslim.measure.layer_shape import LayerShape
from convslim.measure.one_int8_layer import int8_layer
from convslim.measure.one_layer import Build, float_layer
from convslim.quantize.calibrate import calibrate_, fix_weights_
from convslim.quantize.prepare import prepare

Mode = Literal["float32", "int8"]


@dataclass(frozen=True)
class Arithmetic:
    """What a network is timed in.

    Attributes:
        mode: Its name; times of different modes are kept apart.
        layer: Writes the ONNX model of one layer.
        export: Writes a network as an ONNX file: the network, an example input, the path.
    """

    mode: Mode
    layer: Build
    export: Callable[[nn.Module, Tensor, Path], object]


def integer_layer(shape: LayerShape) -> bytes:
    """One layer as the int8 file runs it: in integers, and where runtimes have no integer kernel in float."""
    return float_layer(shape) if shape.kind == "conv_transpose" else int8_layer(shape)


def export_timed_int8(model: nn.Module, example_input: Tensor, path: Path) -> None:
    """Write a network as an int8 file that is as fast as a calibrated one, and not meant to be right.

    Ranges are those of two random images: time depends on shapes only.

    Raises:
        ExportError: The network cannot be exported.
        PlanError: There is no layer to quantize.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, *example_input.shape[1:], generator=generator)
    simulation = prepare(copy.deepcopy(model).eval(), images[:1])
    calibrate_(simulation, [images])
    fix_weights_(simulation)
    export_int8(simulation, images, path, allow_float=["*"], tolerance=math.inf)


ARITHMETICS: Final[Mapping[Mode, Arithmetic]] = {
    "float32": Arithmetic("float32", float_layer, export_onnx),
    "int8": Arithmetic("int8", integer_layer, export_timed_int8),
}
"""By name."""
