"""`convslim bench`, driven as a user drives it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.measure.onnx_files import float_file, int8_file
from typer.testing import CliRunner

from convslim.cli import app

FEW = ("--repeats", "2", "--warmup", "1")


def call(*arguments: object, code: int = 0, width: int = 200) -> tuple[str, str]:
    result = CliRunner().invoke(app, ["bench", *map(str, arguments)], env={"COLUMNS": str(width)})
    assert result.exit_code == code, f"exit code {result.exit_code}: {result.output}"
    return result.stdout, result.stderr


def test_files_and_networks_in_tables(tmp_path: Path) -> None:
    first, second = float_file(tmp_path / "dense.onnx", num_layers=3), float_file(tmp_path / "pruned.onnx")
    text, _ = call(first, second, "digits_cnn", "--batch", "1,2", "--baseline", second, *FEW)
    assert f"1 thread, 2 calls; speed-ups against {second} in onnxruntime" in text
    assert "batch 1" in text
    assert "batch 2" in text
    assert text.count("eager") == 2
    assert text.count("dense.onnx") == 2
    assert text.count("1.00×   1.00×") == 2


def test_speed_ups_are_against_the_network_that_a_run_began_with(tmp_path: Path) -> None:
    files = [float_file(tmp_path / name) for name in ("model.onnx", "original.onnx")]
    assert f"speed-ups against {files[1]} in onnxruntime" in call(*files, *FEW)[0]


def test_json_is_the_whole_output(tmp_path: Path) -> None:
    path = int8_file(tmp_path / "int8.onnx")
    text, _ = call(path, "--json", "--profile", "--threads", "1", *FEW)
    data = json.loads(text)
    assert [row["runtime"] for row in data["rows"]] == ["onnxruntime"]
    assert data["rows"][0]["latency"]["repeats"] == 2
    layers = {kernel["layer"]: kernel["integer"] for kernel in data["profiles"][str(path)]}
    assert layers["first"]
    assert not layers["second"]


def test_profile_names_layers_and_counts_those_in_integers(tmp_path: Path) -> None:
    text, _ = call(int8_file(tmp_path / "int8.onnx"), "--profile", *FEW)
    assert "QLinearConv" in text
    assert "1 of 2 layers run in integers" in text
    assert "in float: second" in text


def test_a_narrow_terminal_keeps_the_numbers(tmp_path: Path) -> None:
    text, _ = call(float_file(tmp_path / "small.onnx"), *FEW, width=80)
    assert "…" not in text
    assert max(map(len, text.splitlines()[1:])) <= 80


def test_what_cannot_be_measured_is_told_on_standard_error(tmp_path: Path) -> None:
    fixed = float_file(tmp_path / "fixed.onnx", shape=(1, 3, 8, 8))
    text, errors = call(fixed, "--batch", "1,4", *FEW)
    assert "batch 4" not in text
    assert "skipped:" in errors
    assert "which is not batch 4" in errors


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("none.onnx",), 1, "There is no ONNX file none.onnx"),
        (("bad.onnx",), 1, "cannot load bad.onnx"),
        (("resnet57_cifar",), 1, "Did you mean 'resnet56_cifar'"),
        (("open.onnx",), 1, "leaves sizes of 'input' open"),
        (("digits_cnn", "--baseline", "resnet20_cifar"), 1, "The baseline 'resnet20_cifar' is not among"),
        (("digits_cnn", "--batch", "one"), 2, "write sizes with commas"),
        (("digits_cnn", "--batch", "0"), 2, "at least 1"),
        (("digits_cnn", "--also", "tvm"), 2, "openvino or compiled"),
        ((".",), 1, "names its network"),
        ((), 2, ""),
    ],
)
def test_wrong_use(
    arguments: tuple[str, ...], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    float_file(tmp_path / "open.onnx", shape=("batch", 3, "height", "width"))
    text, errors = call(*arguments, *FEW, code=code)
    assert message in text + errors
    assert "Traceback" not in text + errors


def test_open_sizes_are_given(tmp_path: Path) -> None:
    path = float_file(tmp_path / "open.onnx", shape=("batch", 3, "height", "width"))
    text, _ = call(path, "--input", "1,3,10,12", "--batch", "3", *FEW)
    assert "batch 3" in text
