"""`convslim init` writes a recipe that fits the network and the data that it looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.test_cli import call

from convslim.models import create
from convslim.pipeline import load_recipe, run

NETS = """
from torch import nn


def plain(num_classes=3):
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(16, num_classes))


def two_outputs():
    class Two(nn.Module):
        def forward(self, x):
            return x, x
    return Two()


def fixed():
    return plain(7)
"""


CONFIGURED = """
from torch import nn


def configured(num_classes=2, width=16):
    net = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                        nn.Flatten(), nn.Linear(width, num_classes))
    net.pretrained_cfg = {"input_size": (3, 20, 20), "mean": (0.5,) * 3, "std": (0.2,) * 3, "crop_pct": 0.8,
                          "interpolation": "bicubic"}
    return net
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Modules of a user, and images of two classes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(NETS)
    for part in ("train", "test"):
        for label, color in (("cat", 0), ("dog", 255)):
            place = tmp_path / "images" / part / label
            place.mkdir(parents=True)
            for number in range(6):
                Image.new("RGB", (24, 24), (color, number, 9)).save(place / f"{number}.png")
    return tmp_path


def kinds(path: str) -> list[str]:
    return [step.kind for step in load_recipe(path).steps]


def test_fresh_weights_are_trained_first(folder: Path):
    text = call("init", "digits_cnn", "digits")
    assert "Next:   convslim run recipe.yaml --dry-run" in text
    assert kinds("recipe.yaml") == [
        "train",
        "sparsify",
        "prune",
        "recalibrate",
        "finetune",
        "export",
        "quantize",
        "bench",
    ]
    words = (folder / "recipe.yaml").read_text()
    for seen in ("1,156,032 MACs", "6 of 7 channel groups", "1,437 training and 360 test images of 10 classes"):
        assert seen in words
    recipe = load_recipe("recipe.yaml", ["steps=[{prune: {criterion: l1, budget: {macs: 0.5}}}]"])
    assert run(recipe, folder / "out", quiet=True).steps[0].macs <= 1_156_032 / 2


def test_trained_weights_are_evaluated_first(folder: Path):
    torch.save(create("digits_cnn").state_dict(), "net.pt")
    call("init", "digits_cnn", "digits", "--weights", "net.pt", "--budget", "params=30000", "--out", "r.yaml")
    assert kinds("r.yaml")[0] == "evaluate"
    recipe = load_recipe("r.yaml")
    assert recipe.model.weights == "net.pt"
    assert next(step.config.model_dump() for step in recipe.steps if step.kind == "prune")["budget"]["params"] == 30_000


def test_networks_without_normalization_are_cut_by_their_filters(folder: Path):
    call("init", "mine.py:plain", "imagefolder:images", "--out", "r.yaml", "--budget", "macs=0.7")
    recipe = load_recipe("r.yaml")
    assert recipe.model.options == {"num_classes": 2}
    assert "sparsify" not in kinds("r.yaml")
    assert next(step.config.model_dump() for step in recipe.steps if step.kind == "prune")["criterion"] == "l1"


def test_pictures_are_read_as_the_network_was_trained_to_see_them(folder: Path):
    (folder / "mine.py").write_text(CONFIGURED)
    call("init", "mine.py:configured", "imagefolder:images", "--out", "own.yaml")
    assert load_recipe("own.yaml").data.options == {
        "size": 20, "resize": 25, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2], "interpolation": "bicubic"
    }  # fmt: skip
    call("init", "mine.py:configured", "imagefolder:images", "--data-option", "size=16", "--out", "wished.yaml")
    options = load_recipe("wished.yaml").data.options
    assert options["size"] == 16
    assert options["std"] == [0.2, 0.2, 0.2]
    assert "resize" not in options
    assert "3×16×16" in Path("wished.yaml").read_text()


def test_wide_networks_keep_multiples_that_integers_compute_fast(folder: Path):
    (folder / "mine.py").write_text(CONFIGURED)
    for width, multiple in ((64, 16), (32, 8)):
        call("init", "mine.py:configured", "imagefolder:images", "--option", f"width={width}", "--overwrite")
        step = next(step for step in load_recipe("recipe.yaml").steps if step.kind == "prune")
        assert step.config.model_dump()["round_to"] == multiple


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("mine.py:fixed", "imagefolder:images"), "num_classes"),
        (("mine.py:two_outputs", "imagefolder:images"), "one row of scores"),
        (("digits_cnn", "imagefolder:images"), "fails on images of the shape (3, "),
        (("digits_cnn", "imagefolder:nowhere"), "there is no folder"),
        (("digits_cnnn", "digits"), "Did you mean 'digits_cnn'"),
        (("digits_cnn", "digits", "--budget", "macs"), "write METRIC=NUMBER"),
        (("digits_cnn", "digits", "--out", "images"), "is there already"),
    ],
)
def test_what_does_not_fit_is_said(words: tuple[str, ...], message: str, folder: Path):
    assert message in call("init", *words, code=1)
    assert not (folder / "recipe.yaml").exists()


def test_a_file_is_replaced_only_when_asked(folder: Path):
    (folder / "recipe.yaml").write_text("mine")
    call("init", "digits_cnn", "digits", code=1)
    assert (folder / "recipe.yaml").read_text() == "mine"
    call("init", "digits_cnn", "digits", "--overwrite")
