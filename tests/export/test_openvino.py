"""The int8 file in OpenVINO: the same scores as in ONNX Runtime, from integer kernels, and timed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convslim.export import export_int8
from convslim.measure.bench import bench
from convslim.measure.runtimes import OPENVINO, onnx_file, onnx_file_in_openvino
from convslim.measure.session import open_session
from convslim.quantize import quantize

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")


def test_the_int8_file_runs_on_integers_in_openvino(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)).eval()
    images = torch.randn(16, 3, 12, 12)
    path = tmp_path / "int8.onnx"
    export_int8(quantize(model, images).model, images, path)
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    precisions = [
        node.get_rt_info()["runtimePrecision"].astype(str)
        for node in compiled.get_runtime_model().get_ops()
        if node.get_rt_info()["layerType"].astype(str) == "Convolution"
    ]
    assert len(precisions) == 2
    assert set(precisions) <= {"u8", "i8"}
    expected = open_session(path).run(None, {"input": images.numpy()})[0]
    found = compiled(images.numpy())[0]
    assert np.abs(found - expected).max() <= 0.03 * np.ptp(expected)
    timed = bench([onnx_file(path), onnx_file_in_openvino(path)], batches=(1, 3), repeats=2)
    assert [row.latency.batch for row in timed.rows if row.runtime == OPENVINO] == [1, 3]
    assert timed.skipped == ()
