"""Step `quantize`: an int8 file with its accuracy, by calibration and by training; the network stays a float one."""

from pathlib import Path

import pytest

from convslim.errors import RecipeError
from convslim.pipeline import load_recipe, parse_recipe, run

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
