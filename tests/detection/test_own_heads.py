"""A detector of the user's: its heads train it, read its files, and what does not fit is said."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.data.voc_sample import write_sample
from typer.testing import CliRunner

from convslim.cli import app
from convslim.detection.own_heads import OwnHeads, own_heads
from convslim.errors import ModelError, RecipeError
from convslim.pipeline import parse_recipe, run

CODE = '''
import torch
from torch import nn


def build():
    """One box and one score an image: where the brightest object is."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=4), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=4), nn.ReLU(),
        nn.Flatten(), nn.LazyLinear(6),
    ).eval()


def built():
    model = build()
    model(torch.zeros(1, 3, 64, 64))
    return model


class Heads:
    def loss(self, outputs, targets, shape):
        wanted = torch.stack([each.boxes[0] for each in targets]) / shape[3]
        labels = torch.stack([each.labels[0] for each in targets])
        return (outputs[:, :4] - wanted).abs().mean() + nn.functional.cross_entropy(outputs[:, 4:], labels)

    def detect(self, outputs, shape):
        scores, labels = outputs[:, 4:].softmax(1).max(1)
        boxes = outputs[:, :4] * shape[3]
        each = zip(boxes[:, None], scores[:, None], labels[:, None])
        return [dict(boxes=box, scores=score, labels=label) for box, score, label in each]
'''


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(CODE)
    return tmp_path / "own.py"


def recipe(code: Path, data: str, steps: list[Any], **options: Any) -> Any:
    model = {"spec": f"{code}:built", "heads": f"{code}:Heads"}
    return parse_recipe({"name": "own", "model": model, "data": {"spec": data, "options": options}, "steps": steps})


def test_it_goes_from_training_to_boxes_in_pictures(code: Path, tmp_path: Path):
    data = write_sample(tmp_path / "voc", images=12, side=64)
    training = {"batch_size": 4, "lr": 0.01, "optimizer": "adam", "weight_decay": 0, "augment": False, "threads": 1}
    steps: list[Any] = [
        {"train": {**training, "epochs": 8}},
        {"prune": {"criterion": "l1", "budget": {"macs": 0.6}, "round_to": 1}},
        {"finetune": {**training, "epochs": 2}},
        {"evaluate": {"pictures": 1}},
        {"quantize": {"mode": "ptq", "num_images": 9, "compared": 3}},
    ]
    record = run(recipe(code, f"voc:{data}", steps, train="train", side=64, workers=0), tmp_path / "run", quiet=True)
    assert [step.kind for step in record.steps if step.measured is not None] == [
        "train",
        "prune",
        "finetune",
        "evaluate",
        "quantize",
    ]
    assert {step.measure for step in record.steps} == {"mAP@0.5"}
    losses = [step.loss for step in record.steps]
    assert losses[0] is not None
    assert losses[0] < 1.2
    assert record.steps[-1].macs <= 0.6 * record.base_macs
    (picture,) = (tmp_path / "run" / "pictures").rglob("*.png")
    assert picture.stat().st_size
    (file,) = (tmp_path / "run").glob("*.onnx")
    command = ["predict", str(file), str(data / "JPEGImages"), "--out", str(tmp_path / "found"), "--threshold", "0.1"]
    done = CliRunner().invoke(app, [*command, "--heads", f"{code}:Heads", "--quiet"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "found" / "boxes.jsonl").read_text().count('"box"') == 12


def test_heads_are_for_images_with_boxes(code: Path, tmp_path: Path):
    with pytest.raises(RecipeError, match="labels, not boxes"):
        run(recipe(code, "digits", ["evaluate"]), tmp_path / "run", quiet=True)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("own.py:Nothing", "has no 'Nothing'"),
        ("own.py:build", "without loss and detect"),
        ("nowhere.py:Heads", "no file"),
    ],
)
def test_what_is_no_heads_is_refused(code: Path, monkeypatch: pytest.MonkeyPatch, spec: str, words: str):
    monkeypatch.chdir(code.parent)
    with pytest.raises(ModelError, match=words):
        own_heads(spec)


def heads(**methods: Any) -> OwnHeads:
    return OwnHeads(SimpleNamespace(**methods), "own.py:Heads")


IMAGES = torch.zeros(2, 3, 32, 32)


def test_outputs_need_a_tensor_and_become_float32():
    with pytest.raises(ModelError, match="without a tensor"):
        heads().checked([], IMAGES, [], "net")
    given = heads().checked({"a": torch.zeros(2, dtype=torch.bfloat16), "n": torch.zeros(2).long()}, IMAGES, [], "net")
    assert (given.outputs["a"].dtype, given.outputs["n"].dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize("returned", [1.5, torch.zeros(2), None])
def test_a_loss_is_a_scalar_tensor(returned: Any):
    own = heads(loss=lambda outputs, targets, shape: returned)
    with pytest.raises(ModelError, match="a scalar tensor"):
        own.loss(own.checked(IMAGES, IMAGES, [], "net"), [], 0.0)


BOX = {"boxes": torch.zeros(1, 4), "scores": torch.ones(1), "labels": torch.zeros(1).long()}


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ([BOX], "1 results for 2 images"),
        ([BOX, {"boxes": torch.zeros(1, 4)}], "no boxes, scores and labels"),
        ([BOX, {**BOX, "boxes": torch.zeros(2, 4)}], r"\(n, 4\)"),
        ([BOX, 3], "no boxes, scores and labels"),
    ],
)
def test_boxes_that_do_not_fit_are_refused(returned: Any, words: str):
    own = heads(detect=lambda outputs, shape: returned)
    with pytest.raises(ModelError, match=words):
        own.detect(own.checked(IMAGES, IMAGES, [], "net"), threshold=0.0, overlap=0.5)


def test_boxes_come_the_surest_first_and_above_the_threshold():
    many = {"boxes": torch.eye(4), "scores": torch.tensor([0.2, 0.9, 0.05, 0.5]), "labels": torch.arange(4)}
    own = heads(detect=lambda outputs, shape: [many])
    (found,) = own.detect(own.checked(IMAGES[:1], IMAGES[:1], [], "net"), threshold=0.1, overlap=0.5)
    assert found.labels.tolist() == [1, 3, 0]
