"""Step `quantize`: an int8 file with its accuracy, by calibration and by training; the network stays a float one."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from convslim.errors import RecipeError
from convslim.pipeline import load_recipe, parse_recipe, run

KILLED_RUN = Path(__file__).with_name("killed_run.py")
TRAIN = {"epochs": 1, "batch_size": 32, "lr": 0.05, "steps_per_epoch": 20}


def recipe(*steps):
    head = {"name": "short", "threads": 1, "model": {"spec": "digits_cnn"}, "data": {"spec": "digits"}}
    return parse_recipe({**head, "evaluation": {"limit": 128}, "steps": list(steps)})


@pytest.mark.parametrize("extra", [{}, {"mode": "qat", "train": TRAIN}], ids=["ptq", "qat"])
def test_file_is_written_and_measured(tmp_path: Path, extra):
    step = {"quantize": {"num_images": 100, "limit": 128, **extra}}
    record = run(recipe({"train": TRAIN}, step), tmp_path / "run", quiet=True)
    done = record.steps[1]
    assert (tmp_path / "run" / "model-int8.onnx").stat().st_size == done.details["file"]["bytes"]
    assert done.details["file"]["float_layers"] == []
    assert done.total == 128
    assert done.correct is not None
    assert abs(done.correct - done.details["simulation"]["correct"]) <= 2
    assert len(done.details["layers"]) == 11


def test_training_and_mode_belong_together():
    with pytest.raises(RecipeError, match="qat needs train"):
        recipe({"quantize": {"mode": "qat"}})


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"scales": "learned"}, "scales would change nothing in mode ptq: only mode qat has them"),
        ({"delay": 0.3, "freeze": 0.7}, "delay, freeze would change nothing in mode ptq"),
        ({"mode": "qat", "train": TRAIN, "rounding": "reconstruct"}, "rounding would change nothing in mode qat"),
        (
            {"mode": "qat", "train": TRAIN, "ranges": "minmax", "equalize": True},
            "ranges, equalize would change nothing",
        ),
        ({"mode": "qat", "train": TRAIN, "delay": 0.6}, r"delay 0\.6 lies behind freeze 0\.5"),
    ],
)
def test_keys_of_the_other_mode_are_refused(step: dict[str, object], message: str):
    with pytest.raises(RecipeError, match=message):
        recipe({"quantize": step})


def weights_and_file(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "model" / "model.safetensors").read_bytes(), (folder / "model-int8.onnx").read_bytes()


@pytest.mark.parametrize("scales", ["observed", "learned"])
def test_killed_training_in_integers_resumes_to_the_same_bits(tmp_path: Path, scales: str):
    """Killed when the second epoch is written; ranges, learned scales and the clock go on where they were."""
    train = {"epochs": 3, "batch_size": 32, "lr": 0.02, "steps_per_epoch": 5, "distill": {"kind": "logits"}}
    step = {"mode": "qat", "train": train, "scales": scales, "num_images": 50, "compared": 20, "limit": 64}
    wanted = recipe({"quantize": step})
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(wanted.to_data()), encoding="utf-8")
    whole = run(wanted, tmp_path / "whole", quiet=True)
    killed = subprocess.run(
        [sys.executable, str(KILLED_RUN), str(tmp_path / "killed"), "6", str(path)],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    epochs = (tmp_path / "killed").rglob("metrics.jsonl")
    assert [len(file.read_text().splitlines()) for file in epochs] == [1]
    torch.manual_seed(1)  # the state of the resuming process must not matter
    record = run(wanted, tmp_path / "killed", resume=True, quiet=True)
    assert weights_and_file(tmp_path / "killed") == weights_and_file(tmp_path / "whole")
    assert record.steps[0].loss == whole.steps[0].loss
    assert record.steps[0].details["layers"] == whole.steps[0].details["layers"]


def test_recipe_with_everything_ends_in_a_measured_file(tmp_path: Path):
    short = [
        "steps.train.epochs=2",
        "steps.finetune.epochs=1",
        "steps.quantize.train.epochs=1",
        "steps.bench.repeats=3",
    ]
    out = tmp_path / "run"
    record = run(load_recipe("digits-int8", short), out, quiet=True)
    assert [step.kind for step in record.steps] == [
        *("train", "prune", "reconstruct", "finetune", "quantize", "export", "bench")
    ]
    quantized, timed = record.steps[4], record.steps[-1]
    assert quantized.macs < 0.51 * record.base_macs
    assert quantized.total == 360
    assert quantized.correct is not None
    assert quantized.correct > 200
    assert quantized.details["file"]["float_layers"] == []
    assert quantized.details["epochs"][0]["guidance"] > 0
    assert {row.name for row in timed.latency} == {"model-int8.onnx", "model.onnx", "original.onnx"}
