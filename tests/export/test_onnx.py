"""`export_onnx`: the file agrees with PyTorch, or there is no file and a clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from convslim import models
from convslim.errors import ArtifactError, ExportError
from convslim.export import export_onnx

EXAMPLE = torch.zeros(1, 1, 8, 8)


class Small(nn.Module):
    """Convolution, BatchNorm and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(self.conv(x)).relu().mean((2, 3)))


class DataDependent(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else 2 * x


def test_file_computes_what_the_network_computes_at_any_batch(tmp_path: Path):
    torch.manual_seed(0)
    model = models.create("digits_cnn").train()
    report = export_onnx(model, EXAMPLE, tmp_path / "new" / "digits.onnx")
    assert model.training
    assert report.max_error < 1e-5
    assert report.bytes == report.path.stat().st_size
    assert report.batch_sizes == (1, 3)
    images = torch.randn(5, 1, 8, 8)
    session = onnxruntime.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": images.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, model.eval()(images).numpy(), atol=1e-5)
    assert [file.name for file in report.path.parent.iterdir()] == ["digits.onnx"]


def test_batch_can_be_fixed(tmp_path: Path):
    report = export_onnx(Small(), torch.zeros(4, 1, 8, 8), tmp_path / "four.onnx", dynamic_batch=False)
    session = onnxruntime.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [4, 1, 8, 8]
    assert report.batch_sizes == (4,)


def test_disagreement_leaves_no_file(tmp_path: Path):
    with pytest.raises(ExportError, match="above the tolerance"):
        export_onnx(Small(), EXAMPLE, tmp_path / "small.onnx", tolerance=-1.0)
    assert list(tmp_path.iterdir()) == []


def test_network_that_cannot_be_exported_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    with pytest.raises(ExportError, match="DataDependent cannot be exported") as caught:
        export_onnx(DataDependent(), EXAMPLE, tmp_path / "no.onnx")
    assert "data-dependent" in str(caught.value).lower()
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().out == ""


def test_unwritable_folder_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ArtifactError, match="Cannot write"):
        export_onnx(Small(), EXAMPLE, tmp_path / "file" / "small.onnx")
