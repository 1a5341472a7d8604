"""`convslim quantize`, driven as a user drives it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from convslim.cli import app
from convslim.data import open_data
from convslim.train.onnx_file import evaluate_file

RECIPE = """
name: tiny
model: {spec: digits_cnn}
data: {spec: digits, options: {mean: [0.25], std: [0.5]}}
steps:
  - train: {epochs: 2, batch_size: 64, lr: 0.05}
"""


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})
    assert result.exit_code == code, f"exit code {result.exit_code}: {result.output}"
    return result.output


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on images with a normalization of its own."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "recipe.yaml").write_text(RECIPE)
    call("run", folder / "recipe.yaml", "--out", folder / "out", "--quiet")
    return folder / "out"


def test_a_run_becomes_a_file_that_is_measured(run: Path, tmp_path: Path):
    file = tmp_path / "net.onnx"
    options = ["--num-images", 100, "--rounding", "reconstruct", "--keep-float", "head*", "--quiet", "--json"]
    record = json.loads(call("quantize", run, "--images", "digits", "--out", file, *options))
    found = record["int8"]
    source = open_data("digits", mean=[0.25], std=[0.5])  # as in the training
    right = evaluate_file(file, source.test).record_fields()["correct"]
    assert found["test"]["correct"] == right
    assert abs(right - record["correct"]) < 10
    assert record["correct"] > 300
    assert (record["images"]["fitted"], record["images"]["held_out"], found["calibrated"]) == (80, 20, 80)
    assert any("head" in name for name in found["float_layers"])
    assert found["bytes"] == file.stat().st_size


def test_in_words(tmp_path: Path):
    text = call("quantize", "digits_cnn", "--images", "digits", "--num-images", 50, "--out", tmp_path / "n.onnx", "-q")
    assert "layers in integers" in text
    assert "on 360 test images the file is right on" in text
    assert "the float network is right on" in text


@pytest.mark.parametrize(
    ("options", "message", "code"),
    [
        (["--ranges", "wide"], "write one of minmax, percentile, mse", 2),
        (["--rounding", "up"], "write one of nearest, reconstruct", 2),
        (["--keep-float", "nothing*"], "'nothing*' matches none", 1),
        (["--num-images", 10], "at least 20 are needed", 1),
    ],
)
def test_errors(options: list[object], message: str, code: int, tmp_path: Path):
    words = ["quantize", "digits_cnn", "--images", "digits", "--num-images", 50, "--out", tmp_path / "n.onnx", "-q"]
    assert message in " ".join(call(*words, *options, code=code).split())
    assert not (tmp_path / "n.onnx").exists()


NETS = """
import torch
from torch import nn


class Maps(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.form = form
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
        self.fine, self.coarse = nn.Conv2d(16, 5, 1), nn.Conv2d(32, 5, 1)

    def forward(self, x):
        x = self.stem(x)
        coarse = self.coarse(self.down(x))
        up = nn.functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        fine = self.fine(x) + up
        return {"map": fine, "maps": [fine, coarse], "dict": {"out": fine, "aux": coarse}}[self.form]


def segmentation():
    return Maps("map")


def detector():
    return Maps("maps")


def named():
    return Maps("dict")
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(40):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / f"{number:02}.png")
    return folder


@pytest.mark.parametrize("name", ["segmentation", "detector", "named"])
def test_networks_that_give_maps(name: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No score per class: the file is compared by its outputs, not by its answers."""
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS)
    options = ["--size", 32, "--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25", "--quiet", "--json"]
    record = json.loads(call("quantize", f"nets.py:{name}", "--images", pictures, "--out", "net.onnx", *options))
    found = record["int8"]
    assert (found["integer_layers"], found["float_layers"]) == (4, {})
    assert found["parity"]["agreement"] is None
    assert found["parity"]["error"] < 0.05
    assert found["error"] < 0.01
    assert (found["test"], record["correct"]) == (None, None)


def test_maps_have_no_answers_to_compare_with_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS.replace("Conv2d(3, 16", "Conv2d(1, 16"))
    text = call("quantize", "nets.py:segmentation", "--images", "digits", "--out", "net.onnx", "-q", code=1)
    assert "need a tensor of shape (256, num_classes)" in text
    assert not Path("net.onnx").exists()
