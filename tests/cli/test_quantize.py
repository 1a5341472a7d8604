"""`convslim quantize`, driven as a user drives it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
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
