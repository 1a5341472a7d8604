"""The command line, driven as a user drives it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner

from convslim.cli import app

TINY = Path(__file__).parent / "pipeline" / "tiny.yaml"
SHORT = ["--set", "steps=[{evaluate: {limit: 16}}]"]


def call(*arguments: object, code: int = 0) -> str:
    """Run a command; returns what it printed on both streams."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, f"exit code {result.exit_code}: {result.output}"
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.output


@pytest.mark.parametrize("command", ["demo", "run", "inspect", "prune", "export", "recipes"])
def test_every_command_has_help_with_an_example(command: str):
    text = call(command, "--help")
    assert f"convslim {command}" in text


def test_no_command_shows_help():
    assert "inspect" in call(code=2)


@pytest.mark.parametrize(
    "arguments", [("fly",), ("run",), ("inspect", "digits_cnn", "--colour"), ("prune", "digits_cnn")]
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...]):
    call(*arguments, code=2)


def test_inspect_lists_groups_and_costs():
    text = call("inspect", "digits_cnn")
    assert "block3.expand" in text
    assert "6 of 7 groups" in text
    assert "1,156,032 MACs" in text
    assert "60,346 parameters" in text


def test_inspect_explains_one_group():
    assert "made by: block1.conv1" in call("inspect", "digits_cnn", "--group", "block1.conv1")
    assert "Did you mean" in call("inspect", "digits_cnn", "--group", "block1.conv9", code=1)


def test_inspect_as_json_holds_everything():
    data = json.loads(call("inspect", "digits_cnn", "--json", "--option", "num_classes=4"))
    assert data["macs"] == sum(layer["macs"] for layer in data["layers"])
    groups = {group["name"]: group for group in data["groups"]}
    assert groups["fc"]["channels"] == 4
    assert not groups["fc"]["prunable"]
    assert groups["fc"]["pins"][0]["reason"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("inspect", "resnet57_cifar"), "Did you mean 'resnet56_cifar'"),
        (("inspect", "no_such_package:make", "--input", "1,3,8,8"), "no_such_package"),
        (("inspect", "pkg.mod:factory"), "pkg"),
        (("inspect", "digits_cnn", "--input", "1,3,8,8"), "channels"),
        (("prune", "digits_cnn", "--budget", "macs", "--out", "x"), "write METRIC=NUMBER"),
        (("prune", "digits_cnn", "--budget", "macs=0.001", "--out", "x"), "macs"),
        (("prune", "digits_cnn", "--budget", "mac=0.5", "--out", "x"), "'macs'"),
        (("prune", "digits_cnn", "--budget", "macs=0.5", "--criterion", "l3", "--out", "x"), "l1"),
        (("prune", "digits_cnn", "--budget", "macs=0.5", "--weights", "none.pt", "--out", "x"), "none.pt"),
        (("run", "none.yaml"), "Cannot read the recipe none.yaml"),
        (("run", "demo", "--set", "steps.prune.budgt=1"), "Did you mean 'budget'"),
        (("recipes", "demmo"), "Did you mean 'demo'"),
    ],
)
def test_errors_are_one_message_and_end_with_1(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    text = call(*arguments, code=1)
    assert message in text
    assert text.startswith("Error: ")
    assert "Traceback" not in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", ["1,3", "one", "1,0,8,8"])
def test_wrong_shapes_are_refused(shape: str):
    call("inspect", "digits_cnn", "--input", shape, code=2 if shape != "1,3" else 1)


def test_prune_then_export(tmp_path: Path):
    text = call("prune", "digits_cnn", "--budget", "macs=0.5", "--budget", "params=50000", "--out", tmp_path / "small")
    assert "1,156,032 →" in text
    assert (tmp_path / "small" / "plan.json").exists()
    text = call("export", tmp_path / "small", "--out", tmp_path / "small.onnx")
    assert "ONNX Runtime agrees with PyTorch" in text
    onnx.checker.check_model(tmp_path / "small.onnx")


def test_export_of_a_network_by_name(tmp_path: Path):
    call("export", "digits_cnn", "--out", tmp_path / "digits.onnx")
    assert (tmp_path / "digits.onnx").stat().st_size > 60_346 * 4


def test_export_of_a_folder_without_a_network_is_refused(tmp_path: Path):
    assert "no artifact" in call("export", tmp_path, "--out", tmp_path / "x.onnx", code=1)


def test_recipes_are_listed_and_printed():
    listed = call("recipes")
    assert {line.split()[0] for line in listed.splitlines() if line} >= {"demo", "cifar10-resnet56-slim"}
    assert "steps:" in call("recipes", "demo")


def test_run_prints_steps_and_tables_and_resumes(tmp_path: Path):
    text = call("run", TINY, "--out", tmp_path / "run", *SHORT)
    assert "[1/1] evaluate" in text
    assert "record.json" in text
    assert "already holds a run" in call("run", TINY, "--out", tmp_path / "run", *SHORT, code=1)
    assert "[1/1]" not in call("run", TINY, "--out", tmp_path / "run", *SHORT, "--resume", "--quiet")
    call("run", TINY, "--out", tmp_path / "run", *SHORT, "--resume", "--overwrite", code=2)
    call("run", TINY, "--out", tmp_path / "run", *SHORT, "--overwrite")


def test_run_folder_can_be_exported(tmp_path: Path):
    call("run", TINY, "--out", tmp_path / "run", *SHORT)
    assert "agrees" in call("export", tmp_path / "run", "--out", tmp_path / "run.onnx")


def test_interrupt_says_how_to_resume(tmp_path: Path):
    endless = ["--set", "steps.train.epochs=100000", "--out", str(tmp_path / "run")]
    command = [sys.executable, "-m", "convslim.cli", "run", str(TINY), *endless]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heard) as process:
        try:
            deadline = time.monotonic() + 60
            while not list(tmp_path.glob("run/steps/.02-train/training.safetensors")) and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert f"convslim run {TINY} --out {tmp_path / 'run'} --set steps.train.epochs=100000 --resume" in errors
