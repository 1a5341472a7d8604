"""A recipe of method joint on twenty images with boxes: from nothing to an int8 file whose precision is measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.data.voc_sample import CLASSES, write_sample

from convslim.detection.file import DetectorFile
from convslim.detection.picture import GAP
from convslim.errors import RecipeError
from convslim.pipeline import load_recipe, parse_recipe, run
from convslim.report import RunRecord

SIDE = 64
HEAD = {
    "name": "sample",
    "threads": 1,
    "model": {"spec": "yolov3_mobilenetv2", "options": {"num_classes": 2, "width": 0.25}},
}
PLAIN = {"mixup": 0, "perspective": 0, "crop": 0, "color": 0.1}
TRAIN = {
    "batch_size": 5,
    "optimizer": "adam",
    "lr": 4e-3,
    "weight_decay": 0,
    "clip_norm": 10,
    "precision": "bf16",
    "evaluate_every": 100,
}
SHORT = {**TRAIN, "lr": 1e-3, "epochs": 5}
STEPS: list[Any] = [
    {"train": {**TRAIN, "epochs": 40, "warmup_epochs": 2}},
    {"sparsify": {**SHORT, "strength": 1.0, "method": "proximal", "linear": False}},
    {
        "prune": {
            "options": {"which": "first"},
            "budget": {"macs": 0.8},
            "linear": False,
            "order": "shallow-to-deep",
            "min_ratio": 0.5,
        }
    },
    {"recalibrate": {"num_batches": 3, "batch_size": 5}},
    {"finetune": {**SHORT, "epochs": 10}},
    {
        "quantize": {
            "mode": "qat",
            "num_images": 15,
            "compared": 5,
            "train": {**SHORT, "epochs": 2, "lr": 2e-4, "precision": "32"},
        }
    },
    {"export": {"latency": None}},
    {"bench": {"repeats": 3}},
    {"evaluate": {"pictures": 2}},
]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("voc") / "sample", side=SIDE)


def recipe(sample: Path, steps: list[Any], **head: Any) -> Any:
    options = {"train": "train", "side": SIDE, "workers": 0, "augmentation": PLAIN}
    data = {"spec": f"voc:{sample}", "options": options}
    return parse_recipe({**HEAD, **head, "data": data, "steps": steps})


@pytest.fixture(scope="module")
def whole(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Path]:
    out = tmp_path_factory.mktemp("run") / "run"
    return run(recipe(sample, STEPS), out, quiet=True), out


def test_the_run_goes_from_images_to_a_measured_int8_file(whole: tuple[RunRecord, Path]):
    record, out = whole
    trained, sparse, cut, _, tuned, mixed = record.steps[:6]
    assert trained.measure == "mAP@0.5"
    assert trained.measured is not None
    assert trained.measured > 0.3
    assert (trained.accuracy, trained.correct, trained.images) == (None, None, "5")
    assert sparse.details["penalized_layers"] < 68  # all BatchNorms but those of projections
    assert cut.macs <= 0.8 * record.base_macs
    assert (tuned.macs, mixed.macs) == (cut.macs, cut.macs)
    assert mixed.details["file"]["float_layers"] == []
    assert {file.name for file in out.glob("*.onnx")} == {"model.onnx", "model-int8.onnx"}
    assert {row.name for row in record.steps[7].latency} == {"model.onnx", "model-int8.onnx"}


def test_the_file_is_as_precise_as_the_simulation(whole: tuple[RunRecord, Path]):
    mixed = whole[0].steps[5]
    assert mixed.measured is not None
    assert abs(mixed.measured - mixed.details["simulation"]["value"]) <= 0.01


def test_layers_were_cut_one_after_the_other(whole: tuple[RunRecord, Path]):
    details = whole[0].steps[2].details
    cut = [name for name, (kept, channels) in details["channels"].items() if kept < channels]
    assert [each["group"] for each in details["cuts"]] == cut
    assert len(cut) > 3
    assert all(each["relative_error"] <= 1e-4 for each in details["cuts"])
    assert not any(name.startswith("features") and name.endswith("conv.2") for name in cut)


def test_the_record_has_a_curve_per_class(whole):
    record, out = whole
    again = RunRecord.load(out / "record.json")
    assert again == record
    assert record.data_notes == ("training images: nothing odd", "test images: nothing odd")
    for step in record.steps[:6]:
        assert tuple(each.name for each in step.classes) == CLASSES
        found = [each.average_precision for each in step.classes]
        assert step.measured == pytest.approx(sum(found) / len(found))
        assert all(len(each.scores) == len(each.recall) == len(each.precision) for each in step.classes)


def test_pictures_show_before_beside_after(whole: tuple[RunRecord, Path]):
    record, out = whole
    names = record.steps[8].details["pictures"]
    assert len(names) == 2
    for name in names:
        with Image.open(out / name) as picture:
            assert picture.size == (2 * SIDE + GAP, SIDE)


def test_files_say_what_they_are(whole: tuple[RunRecord, Path]):
    for name in ("model.onnx", "model-int8.onnx"):
        facts = DetectorFile(whole[1] / name).facts
        assert (facts.task, facts.classes) == ("detection", CLASSES)


def test_pictures_are_of_boxes(tmp_path: Path):
    head = {"name": "no", "model": {"spec": "digits_cnn"}, "data": {"spec": "digits"}}
    with pytest.raises(RecipeError, match="the images of this data have labels"):
        run(parse_recipe({**head, "steps": [{"evaluate": {"pictures": 1}}]}), tmp_path / "run", quiet=True)


def test_a_run_goes_on_where_it_was_killed(sample: Path, tmp_path: Path):
    small = {"model": {"spec": "yolov3_mobilenetv2", "options": {"num_classes": 2, "width": 0.1}}}
    steps = [{"train": {**TRAIN, "epochs": 2}}, {"prune": {"budget": {"params": 0.8}, "criterion": "l1"}}]

    def killed(number: int, step: object) -> None:
        raise KeyboardInterrupt

    whole = run(recipe(sample, steps, **small), tmp_path / "whole", quiet=True)
    with pytest.raises(KeyboardInterrupt):
        run(recipe(sample, steps, **small), tmp_path / "run", quiet=True, on_step=killed)
    resumed = run(recipe(sample, steps, **small), tmp_path / "run", quiet=True, resume=True)
    assert [step.loss for step in resumed.steps] == [step.loss for step in whole.steps]
    first, second = ((tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "run"))
    assert first == second


@pytest.mark.parametrize("step", [{"reconstruct": {"num_images": 10, "compared": 5, "per_image": 4}}, "recalibrate"])
def test_steps_without_labels_take_the_images(sample: Path, tmp_path: Path, step: Any):
    small = {"model": {"spec": "yolov3_mobilenetv2", "options": {"num_classes": 2, "width": 0.1}}}
    steps = [{"prune": {"budget": {"params": 0.8}, "criterion": "l1"}}, step]
    record = run(recipe(sample, steps, **small), tmp_path / "run", quiet=True)
    assert record.steps[1].measure == "mAP@0.5"


def test_records_of_before_are_read(tmp_path: Path):
    old = {"kind": "train", "config": {}, "seconds": 1.0, "macs": 1, "params": 1, "correct": 3, "total": 4, "loss": 0.5}
    machine = {"cpu": "c", "cores": 1, "system": "s", "python": "3"}
    head = {"name": "n", "seed": 0, "recipe": {}, "versions": {}, "machine": machine, "base_macs": 1, "base_params": 1}
    (tmp_path / "record.json").write_text(json.dumps({**head, "steps": [old]}))
    step = RunRecord.load(tmp_path / "record.json").steps[0]
    assert (step.measure, step.measured, step.images) == ("accuracy", 0.75, "3/4")


@pytest.mark.parametrize("name", ["bccd-yolov3-joint", "voc-yolov3-joint", "digits-joint"])
def test_recipes_follow_the_method(name: str):
    steps = {step.kind: step.config for step in load_recipe(name).steps}
    mended = "reconstruct" if name.startswith("bccd") else "recalibrate"
    assert tuple(steps) == ("train", "sparsify", "prune", mended, "finetune", "quantize", "export", "bench")
    cut: Any = steps["prune"]
    assert cut.allocation == ("uniform" if name.startswith("bccd") else "global")  # brief or long sparse training
    assert (cut.criterion, cut.options, cut.linear, cut.order) == (
        "bn_scale",
        {"which": "first"},
        False,
        "shallow-to-deep",
    )
