"""Everything that users get wrong: one clear error each, with the place, what was found, and the way out."""

import errno
import os
import pickle
import re
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import convslim
from convslim import PruningPlan, allocate, load_weights, make_plan, remove, save, score, trace
from convslim.cli import app
from convslim.data import open_data
from convslim.errors import (
    ArtifactError,
    BudgetError,
    ConvslimError,
    DataError,
    ModelError,
    PlanError,
    RecipeError,
)
from convslim.pipeline import load_recipe, run

X = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
RECIPE = {
    "name": "mine",
    "model": {"spec": "digits_cnn"},
    "data": {"spec": "digits"},
    "steps": [{"evaluate": {"limit": 16}}, {"prune": {"criterion": "l1", "budget": {"macs": 0.6}}}],
}


def network():
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 4, 1)).eval()


def plan_of(net):
    return make_plan(trace(net, X), {"0": range(8)})


def recipe_file(folder, **changes):
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump(RECIPE | changes, sort_keys=False))
    return file


def run_recipe(folder, **changes):
    run(load_recipe(str(recipe_file(folder, **changes))), folder / "out", quiet=True)


# ---- recipes and budgets ------------------------------------------------------------------------------------------


def recipe_with_a_wrong_key(folder):
    load_recipe(str(recipe_file(folder, sed=3)))


def recipe_with_a_wrong_type(folder):
    load_recipe(str(recipe_file(folder, steps=[{"evaluate": {"limit": "many"}}])))


def budget_below_reach(folder):
    net = network()
    graph = trace(net, X)
    allocate(graph, score(graph, net, "l1"), {"macs": 0.01})


# ---- checkpoints --------------------------------------------------------------------------------------------------


class Code:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def missing_checkpoint(folder):
    load_weights(network(), folder / "net.pt")


def truncated_checkpoint(folder):
    torch.save(network().state_dict(), folder / "net.pt")
    (folder / "net.pt").write_bytes((folder / "net.pt").read_bytes()[:500])
    load_weights(network(), folder / "net.pt")


def checkpoint_with_code(folder):
    (folder / "net.pt").write_bytes(pickle.dumps({"state_dict": {}, "extra": Code(folder / "marker")}, protocol=2))
    try:
        load_weights(network(), folder / "net.pt")
    finally:
        assert not (folder / "marker").exists(), "code in a checkpoint was run"


def checkpoint_of_another_network(folder):
    torch.save({"state_dict": nn.Conv2d(3, 4, 1).state_dict()}, folder / "net.pt")
    load_weights(network(), folder / "net.pt")


# ---- models and example inputs ------------------------------------------------------------------------------------


def wrong_input_shape(folder):
    trace(network(), torch.zeros(1, 1, 8, 8))


class Broken(nn.Module):
    def forward(self, x):
        return x.reshape(7, 7)


def model_that_fails(folder):
    trace(Broken(), X)


def model_file_that_fails(folder):
    (folder / "nets.py").write_text("def make():\n    return 1 / 0\n")
    convslim.models.create(f"{folder}/nets.py:make")


# ---- data ---------------------------------------------------------------------------------------------------------


def empty_data_folder(folder):
    (folder / "images").mkdir()
    open_data(f"imagefolder:{folder}/images")


def corrupt_image(folder):
    for kind in ("cat", "dog"):
        (folder / "images" / kind).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (12, 12)).save(folder / "images" / kind / f"{number}.png")
    for number in range(4):
        (folder / "images" / "dog" / f"{number}.png").write_bytes(b"no image at all")
    source = open_data(f"imagefolder:{folder}/images", size=8, workers=0, mean=[0, 0, 0], std=[1, 1, 1])
    list(source.train.batches(8))


LABELS = """
import torch

def make():
    images = torch.zeros(6, 3, 8, 8, dtype=torch.uint8)
    train = [(image, label) for image, label in zip(images, [0, 1, 1, 0, 7, 1])]
    train_set, test_set = Items(train), Items(train[:2])
    return train_set, test_set

class Items(list):
    classes = ["cat", "dog"]
"""


def label_out_of_range(folder):
    (folder / "sets.py").write_text(LABELS)
    list(open_data(f"{folder}/sets.py:make").train.batches(2))


# ---- plans and artifacts ------------------------------------------------------------------------------------------


def plan_for_another_model(folder):
    wider = nn.Sequential(nn.Conv2d(3, 24, 3), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 4, 1))
    remove(wider, plan_of(network()), X)


def plan_of_an_unknown_layer(folder):
    make_plan(trace(network(), X), {"O": [0]})


def plan_file_that_is_something_else(folder):
    (folder / "plan.json").write_text('{"epochs": 3}')
    PruningPlan.load(folder / "plan.json")


def artifact_that_is_damaged(folder):
    save(network(), folder / "net")
    (folder / "net" / "model.safetensors").write_bytes(b"")
    convslim.load(folder / "net", network)


def artifact_of_another_network(folder):
    save(network(), folder / "net")
    convslim.load(folder / "net", lambda: nn.Sequential(nn.Conv2d(3, 4, 1)))


# ---- disks --------------------------------------------------------------------------------------------------------


def in_the_way(folder):
    (folder / "out").write_text("a file where a folder should be")
    save(network(), folder / "out" / "net")


def run_in_the_way(folder):
    (folder / "out").write_text("a file where a folder should be")
    run_recipe(folder)


TABLE = {
    recipe_with_a_wrong_key: (RecipeError, "mine.yaml", "sed", "Did you mean 'seed'?"),
    recipe_with_a_wrong_type: (RecipeError, "mine.yaml", "steps.1.evaluate.limit", "'many'"),
    budget_below_reach: (BudgetError, "macs=", "cannot be reached", "smallest width", "round_to=8"),
    missing_checkpoint: (ArtifactError, "net.pt", "no checkpoint", "Check the path"),
    truncated_checkpoint: (ArtifactError, "net.pt", "Is the file whole?"),
    checkpoint_with_code: (ArtifactError, "net.pt", "refused", "state_dict()"),
    checkpoint_of_another_network: (ModelError, "net.pt", "Sequential", "begins with 'weight'", "the same arch"),
    wrong_input_shape: (ModelError, "Sequential", "[1, 1, 8, 8]", "example_input of the shape"),
    model_that_fails: (ModelError, "Broken", "invalid for input of size 192", "example_input"),
    model_file_that_fails: (ModelError, "nets.py", "division by zero"),
    empty_data_folder: (DataError, "images", "is empty", "one subfolder"),
    corrupt_image: (DataError, "images/dog/", ".png", "cannot be decoded"),
    label_out_of_range: (DataError, "item 4", "label 7", "2 classes"),
    plan_for_another_model: (PlanError, "another model", "Sequential", "Make the plan from a trace of this model"),
    plan_of_an_unknown_layer: (PlanError, "no channel group 'O'"),
    plan_file_that_is_something_else: (PlanError, "not a pruning plan", "format"),
    artifact_that_is_damaged: (ArtifactError, "net/model.safetensors", "checksum", "copy the whole folder again"),
    artifact_of_another_network: (ModelError, "net", "tensor names differ", "Give the factory"),
    in_the_way: (ArtifactError, "out/net", "cannot be written", "Choose another folder"),
    run_in_the_way: (ArtifactError, "out", "Cannot write into", "Choose a folder"),
}  # fmt: skip
cases = pytest.mark.parametrize("mistake", TABLE, ids=lambda function: function.__name__)


@cases
def test_every_mistake_has_its_own_clear_error(mistake, tmp_path):
    kind, *texts = TABLE[mistake]
    with pytest.raises(ConvslimError) as caught:
        mistake(tmp_path)
    message = str(caught.value)
    assert type(caught.value) is kind
    assert [text for text in texts if text not in message] == [], message
    assert "Traceback" not in message
    assert not re.search(r" object at 0x[0-9a-f]+", message)


def test_no_two_mistakes_read_alike(tmp_path):
    messages = set()
    for number, mistake in enumerate(TABLE):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(ConvslimError) as caught:
            mistake(tmp_path / str(number))
        messages.add(re.sub(re.escape(str(tmp_path)) + r"/\d+", "", str(caught.value)))
    assert len(messages) == len(TABLE)


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        ({"model": {"spec": "digits_cnn", "weights": "none.pt"}}, ["none.pt", "Check the path"]),
        ({"data": {"spec": "imagefolder:none"}}, ["none", "there is no folder"]),
        ({"steps": ["evaluat"]}, ["mine.yaml", "Did you mean 'evaluate'?"]),
        ({"steps": [{"prune": {"criterion": "l1", "budget": {"macs": 0.001}}}]}, ["Step 1 (prune)", "reached"]),
        ({"model": {"spec": "resnet20_cifar"}}, ["3 channels"]),
    ],
)  # fmt: skip
def test_the_command_says_it_in_a_line_and_leaves_no_results(changes, texts, tmp_path):
    result = CliRunner().invoke(
        app, ["run", str(recipe_file(tmp_path, **changes)), "--out", str(tmp_path / "out"), "-q"]
    )
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert [text for text in texts if text not in result.stderr] == [], result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "out" / "record.json").exists()
    assert not list(tmp_path.rglob("model.safetensors"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES], ids=errno.errorcode.get)
@pytest.mark.parametrize(
    "write",
    [
        lambda folder: save(network(), folder / "net"),
        lambda folder: plan_of(network()).save(folder / "plan.json"),
        run_recipe,
    ],
    ids=["artifact", "plan", "run"],
)
def test_disks_that_do_not_take_it_are_named_and_nothing_is_half_written(write, code, tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(ArtifactError, match=re.escape(os.strerror(code))):
        write(tmp_path)
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left <= {"mine.yaml", ".lock"}, left
