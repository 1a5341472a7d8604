"""`run`: the steps in order, folders that are refused, and steps that fail."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from safetensors.torch import save_file

from convslim import models
from convslim.errors import (
    ArtifactError,
    BudgetError,
    ConvslimError,
    DataError,
    ModelError,
    PlanError,
    RecipeError,
    TrainingError,
)
from convslim.measure.cost import cost
from convslim.pipeline import Recipe, load_recipe, parse_recipe, run
from convslim.report import RunRecord
from convslim.surgery.artifact import load

TINY = Path(__file__).with_name("tiny.yaml")
TRAIN = {"train": {"epochs": 1, "batch_size": 32, "steps_per_epoch": 2, "lr": 0.05}}
PRUNE = {"prune": {"criterion": "l1", "budget": {"macs": 0.6}}}


def recipe(*steps: Any, **changes: Any) -> Recipe:
    base = {
        "name": "short",
        "threads": 1,
        "model": {"spec": "digits_cnn"},
        "data": {"spec": "digits"},
        "evaluation": {"limit": 32},
    }
    return parse_recipe({**base, **changes, "steps": list(steps)})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRecord, list[tuple[int, str]]]:
    """The tiny recipe, carried out with an export behind it."""
    out = tmp_path_factory.mktemp("runs") / "done"
    tiny = load_recipe(TINY).to_data()
    tiny["steps"].append({"export": {"latency": {"batches": [1, 2], "repeats": 3, "warmup": 1}}})
    seen: list[tuple[int, str]] = []
    record = run(parse_recipe(tiny), out, quiet=True, on_step=lambda number, step: seen.append((number, step.kind)))
    return out, record, seen


def test_record_holds_every_step(done: tuple[Path, RunRecord, list[tuple[int, str]]]):
    out, record, seen = done
    kinds = ["evaluate", "train", "sparsify", "prune", "recalibrate", "finetune", "export"]
    assert [step.kind for step in record.steps] == kinds
    assert seen == list(enumerate(kinds, start=1))
    assert RunRecord.load(out / "record.json") == record
    assert [step.total for step in record.steps] == [64] * 6 + [None]
    assert record.steps[2].details["penalized_scales"] > 0
    assert 0.49 <= record.steps[3].macs / record.base_macs <= 0.5
    assert record.steps[6].details["max_error"] < 1e-4
    assert [(entry.name, entry.batch) for entry in record.steps[6].latency] == [
        ("before", 1),
        ("after", 1),
        ("before", 2),
        ("after", 2),
    ]


def test_folder_holds_the_network_and_its_files(done: tuple[Path, RunRecord, list[tuple[int, str]]]):
    out, record, _ = done
    network = load(out / "model", lambda: models.create("digits_cnn"))
    assert cost(network, torch.zeros(1, 1, 8, 8)).macs == record.steps[-1].macs
    names = {path.name for path in out.iterdir()} - {".lock"}
    assert names == {"recipe.json", "record.json", "model", "steps", "model.onnx", "original.onnx"}
    assert not list(out.rglob("training.safetensors"))
    assert (out / "steps" / "02-train" / "metrics.jsonl").read_text().count("\n") == 2


def test_finished_run_resumes_to_its_record(done: tuple[Path, RunRecord, list[tuple[int, str]]], tmp_path: Path):
    out, record, _ = done
    shutil.copytree(out, tmp_path / "copy")
    again = run(parse_recipe(record.recipe), tmp_path / "copy", resume=True, quiet=True)
    assert again.steps == record.steps


def test_plans_of_two_cuts_are_composed(tmp_path: Path):
    record = run(recipe(PRUNE, PRUNE), tmp_path, quiet=True)
    assert record.steps[1].macs < 0.6 * record.steps[0].macs
    network = load(tmp_path / "model", lambda: models.create("digits_cnn"))
    assert cost(network, torch.zeros(1, 1, 8, 8)).macs == record.steps[1].macs


def test_constants_of_cut_channels_are_folded_and_recorded(tmp_path: Path):
    network = models.create("digits_cnn")
    with torch.no_grad():
        network.get_parameter("head_bn.weight")[:48] = 0
        network.get_parameter("head_bn.bias")[:48] = 1
    file = tmp_path / "weights.safetensors"
    save_file(network.state_dict(), file)
    keep = ["stem", "block1.conv1", "block2.conv1", "block2.conv2", "block3.expand"]
    step = {"prune": {"budget": {"params": 0.96}, "keep": keep}}
    model = {"spec": "digits_cnn", "weights": str(file)}
    details = run(recipe(step, model=model), tmp_path / "run", quiet=True).steps[0].details
    assert details["certificate"]["relative_error"] < 1e-4
    removed = 96 - details["channels"]["head"][0]
    expected = {"module": "fc", "num_constant": removed, "where": "bias", "exact": True}
    assert removed > 0
    assert details["folded"]["layers"] == [expected]
    small = load(tmp_path / "run" / "model", lambda: models.create("digits_cnn"))
    images = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(small.eval()(images), network.eval()(images), atol=1e-4, rtol=1e-4)


def test_criteria_with_gradients_get_training_images(tmp_path: Path):
    step = {"prune": {"criterion": "taylor", "budget": {"macs": 0.7}, "num_batches": 2, "batch_size": 16}}
    assert run(recipe(step), tmp_path, quiet=True).steps[0].macs > 0


def test_a_folder_in_use_is_refused(tmp_path: Path):
    with FileLock(tmp_path / ".lock"), pytest.raises(ArtifactError, match="Another run works in"):
        run(recipe("evaluate"), tmp_path, quiet=True)


def test_a_folder_with_other_things_is_refused(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("dear")
    for resume, overwrite in ((False, False), (False, True), (True, False)):
        with pytest.raises(ArtifactError, match=r"not empty \(thesis\.tex\)"):
            run(recipe("evaluate"), tmp_path, quiet=True, resume=resume, overwrite=overwrite)
    assert (tmp_path / "thesis.tex").read_text() == "dear"


def test_an_earlier_run_needs_resume_or_overwrite(tmp_path: Path):
    step = {"evaluate": {"limit": 16}}
    run(recipe(step), tmp_path, quiet=True)
    with pytest.raises(ArtifactError, match="already holds a run"):
        run(recipe(step), tmp_path, quiet=True)
    with pytest.raises(RecipeError, match=r"(?s)seed: 0 → 4.*steps\.1\.evaluate\.limit: 16 → 17"):
        run(recipe({"evaluate": {"limit": 17}}, seed=4), tmp_path, quiet=True, resume=True)
    assert run(recipe(step, seed=4), tmp_path, quiet=True, overwrite=True).seed == 4


def test_resume_in_an_empty_folder_starts(tmp_path: Path):
    assert run(recipe({"evaluate": {"limit": 16}}), tmp_path / "new", resume=True, quiet=True).steps


def test_damaged_result_is_named(tmp_path: Path):
    run(recipe({"evaluate": {"limit": 16}}), tmp_path, quiet=True)
    (tmp_path / "steps" / "01-evaluate" / "result.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"01-evaluate/result\.json is damaged"):
        run(recipe({"evaluate": {"limit": 16}}), tmp_path, resume=True, quiet=True)


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ArtifactError, match="Cannot write into"):
        run(recipe("evaluate"), tmp_path / "file", quiet=True)


def weights(folder: Path, content: bytes) -> dict[str, Any]:
    file = folder / "weights.pt"
    file.write_bytes(content)
    return {"model": {"spec": "digits_cnn", "weights": str(file)}}


class Code:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('pickled code ran')",))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (lambda folder: weights(folder, b"PK\x03\x04 cut off"), ArtifactError, r"weights\.pt"),
        (lambda folder: weights(folder, pickle.dumps(Code(), protocol=2)), ArtifactError, "refused"),
        (lambda folder: {"model": {"spec": "digits_cnn", "weights": "none.pt"}}, ArtifactError, "none.pt"),
        (lambda folder: {"model": {"spec": "digit_cnn"}}, ModelError, "Did you mean 'digits_cnn'"),
        (lambda folder: {"model": {"spec": "resnet20_cifar"}}, ModelError, "3 channels"),
        (lambda folder: {"data": {"spec": "digit"}}, DataError, "Did you mean 'digits'"),
        (lambda folder: {"data": {"spec": f"imagefolder:{folder}/none"}}, DataError, "none"),
        (lambda folder: {"data": {"spec": f"cifar10:{folder}/none"}}, DataError, "none"),
        (lambda folder: {"model": {"spec": "digits_cnn", "options": {"num_classes": 4}}}, DataError, "4 classes"),
    ],
    ids=["truncated", "pickled", "missing", "no-model", "wrong-size", "no-data", "no-folder", "no-cifar", "labels"],
)
def test_bad_input_is_told_clearly(tmp_path: Path, changes: Any, error: type[ConvslimError], message: str):
    (tmp_path / "in").mkdir()
    with pytest.raises(error, match=message):
        run(recipe(TRAIN, **changes(tmp_path / "in")), tmp_path / "out", quiet=True)


def test_budget_out_of_reach_is_told_before_training(tmp_path: Path):
    impossible = {"prune": {"criterion": "l1", "budget": {"macs": 0.001}}}
    with pytest.raises(BudgetError, match=r"Step 2 \(prune\)"):
        run(recipe(TRAIN, impossible), tmp_path, quiet=True)
    assert not (tmp_path / "steps").exists()


def test_a_corrected_recipe_starts_where_the_wrong_one_was_refused(tmp_path: Path):
    wrong, right = ({"prune": {"criterion": "l1", "budget": {"macs": macs}}} for macs in (0.001, 0.6))
    with pytest.raises(BudgetError):
        run(recipe(wrong), tmp_path, quiet=True)
    assert run(recipe(right), tmp_path, quiet=True).steps[0].macs > 0


def test_pattern_that_matches_nothing_is_told_before_training(tmp_path: Path):
    wrong = {"prune": {"criterion": "l1", "budget": {"macs": 0.5}, "keep": ["block9.*"]}}
    with pytest.raises(PlanError, match=r"Step 2 \(prune\).*block9"):
        run(recipe(TRAIN, wrong), tmp_path, quiet=True)


def test_failing_step_is_named_and_earlier_ones_are_kept(tmp_path: Path):
    diverging = {"finetune": {**TRAIN["train"], "epochs": 3, "lr": 1e30}}
    with pytest.raises(TrainingError, match=r"Step 2 \(finetune\): Training stopped"):
        run(recipe(TRAIN, diverging), tmp_path, quiet=True)
    assert (tmp_path / "steps" / "01-train" / "result.json").exists()
