"""The integer reference beside ONNX Runtime, and the file beside the simulation, on a network with many constructs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convslim.errors import ArtifactError, DataError, ExportError, ModelError, PlanError
from convslim.export import export_int8
from convslim.quantize import quantize
from convslim.quantize.prepare import prepare
from convslim.quantize.reference import IntegerFile, compare_with_runtime


class Everything(nn.Module):
    """Concatenation, residual sum, gate, pooling, upsampling, ReLU6, hardswish, depthwise and strided convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.left, self.right = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 3, padding=2, dilation=2)
        self.down, self.gate, self.head = nn.Conv2d(12, 12, 3, stride=2), nn.Conv2d(12, 12, 1), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.norm(self.stem(x)))
        x = F.relu(x + self.deep(x))
        x = torch.cat([F.hardswish(self.left(x)), self.right(x)], 1)
        x = self.down(F.interpolate(F.max_pool2d(x, 2), scale_factor=2.0))
        x = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        return self.head(F.relu(x).mean((2, 3)))


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(64, 3, 10, 10, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def file(images: Tensor, tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    torch.manual_seed(0)
    done = quantize(Everything().eval(), images)
    path = tmp_path_factory.mktemp("int8") / "net.onnx"
    report = export_int8(done.model, images, path)
    assert (len(report.kernels.integer), report.kernels.real) == (7, ())
    assert report.error < 1e-3
    assert report.agreement is not None
    assert report.agreement >= 0.95
    assert set(done.noise) == {"stem", "deep", "left", "right", "down", "gate", "head"}
    assert min(done.noise.values()) > 20
    return done.model, path


def test_every_operation_is_within_a_step_of_onnx_runtime(file, images):
    compared = compare_with_runtime(file[1], images[:8].numpy())
    assert {"stem", "deep", "left", "right", "down", "gate"} <= {each.operation for each in compared}
    assert max(each.largest for each in compared) <= 1
    session = onnxruntime.InferenceSession(file[1], providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"input": images[:8].numpy()})
    (found,) = IntegerFile(file[1])(images[:8].numpy())
    assert float(np.abs(found - expected).max()) < 0.05 * float(np.abs(expected).max())


def test_joined_tensors_share_one_grid(images):
    simulation = prepare(Everything().eval(), images[:1])
    shared = [node.meta["grid"] for node in simulation.graph.nodes if "cat" in node.name]
    inputs = {
        read.meta["grid"] for node in simulation.graph.nodes if node.name == "cat" for read in node.all_input_nodes
    }
    assert inputs == set(shared)


def test_layers_by_name_stay_float(images, tmp_path):
    done = quantize(Everything().eval(), images, float_layers=["left"])
    report = export_int8(done.model, images, tmp_path / "net.onnx")
    assert report.kernels.real == () or len(report.kernels.real) == 1
    assert len(report.kernels.integer) == 6
    assert set(done.left) == {"left"}
    with pytest.raises(PlanError, match="Did you mean 'left'"):
        quantize(Everything(), images, float_layers=["lef"])


def test_errors_say_what_to_do(file, images, tmp_path):
    with pytest.raises(DataError, match="Batch 1"):
        quantize(Everything(), torch.full_like(images, torch.nan))
    with pytest.raises(DataError, match="no image"):
        quantize(Everything(), [])
    with pytest.raises(ModelError, match="Calibrate"):
        export_int8(prepare(Everything(), images[:1]), images, tmp_path / "net.onnx")
    with pytest.raises(ModelError, match="not quantized"):
        export_int8(Everything(), images, tmp_path / "net.onnx")
    with pytest.raises(ExportError, match="opset"):
        export_int8(file[0], images, tmp_path / "net.onnx", opset=11)
    (tmp_path / "taken").write_text("")
    with pytest.raises(ArtifactError, match="Cannot write"):
        export_int8(file[0], images, tmp_path / "taken" / "net.onnx")
