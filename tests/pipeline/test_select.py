"""Step `select` and `distill` in a run: killed at any moment it resumes to the same bits; teachers by configuration."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import convslim
from convslim.data import open_data
from convslim.distill import TeacherConfig
from convslim.errors import ArtifactError, RecipeError
from convslim.pipeline import load_recipe, parse_recipe, run
from convslim.pipeline.state import Context, State
from convslim.pipeline.teacher import teacher
from convslim.report import RunRecord

RECIPE = Path(__file__).with_name("select.yaml")
SCRIPT = Path(__file__).with_name("killed_run.py")


def facts(record: RunRecord) -> list[object]:
    """Everything a run found, without times."""
    found: list[object] = []
    for step in record.steps:
        epochs = [
            {key: value for key, value in epoch.items() if key not in ("seconds", "images_per_second")}
            for epoch in step.details["epochs"]
        ]
        rest = {key: value for key, value in step.details.items() if key != "epochs"}
        found.append((step.kind, step.correct, step.loss, step.macs, step.params, epochs, rest))
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Path]:
    out = tmp_path_factory.mktemp("whole")
    return run(load_recipe(RECIPE), out, quiet=True), out


def test_budget_plan_and_guidance(whole: tuple[RunRecord, Path]):
    record, out = whole
    select, finetune = record.steps
    assert 0.4 * record.base_macs < select.macs <= 0.5 * record.base_macs
    plan = convslim.PruningPlan.load(out / "model" / "plan.json")
    assert plan.removed
    assert [epoch["facts"] is None for epoch in select.details["epochs"]] == [False, False, True, True]
    assert all(epoch["guidance"] > 0 for step in (select, finetune) for epoch in step.details["epochs"])
    assert set(select.details["rounds"][0]["channels"]) == set(select.details["epochs"][0]["facts"]["live"])


@pytest.mark.parametrize("flush", [4, 9, 14])
def test_killed_selection_resumes_to_the_same_bits(tmp_path: Path, whole: tuple[RunRecord, Path], flush: int):
    command = [sys.executable, str(SCRIPT), str(tmp_path), str(flush), str(RECIPE)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    torch.manual_seed(flush)
    record = run(load_recipe(RECIPE), tmp_path, resume=True, quiet=True)
    assert facts(record) == facts(whole[0])
    found, expected = (load_file(folder / "model" / "model.safetensors") for folder in (tmp_path, whole[1]))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def context(tmp_path: Path) -> Context:
    source = open_data("digits")
    return Context(source, source.example_input(), lambda: network(3), tmp_path, tmp_path)


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return convslim.models.create("digits_cnn")


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_the_teacher_is_the_network_before_its_first_cut(tmp_path: Path):
    model, uncut = network(0), network(1)
    assert teacher(None, State(model, uncut=uncut), context(tmp_path)) is uncut
    assert teacher(None, State(model), context(tmp_path)) is model


def test_teachers_by_spec_file_and_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    given = network(7)
    save_file(given.state_dict(), tmp_path / "weights.safetensors")
    convslim.save(given, tmp_path / "artifact")
    monkeypatch.setenv("TEACHERS", str(tmp_path))
    choices: tuple[dict[str, Any], ...] = (
        {"weights": "${TEACHERS}/weights.safetensors"},
        {"weights": "${TEACHERS}/artifact"},
    )
    for options in choices:
        assert same(teacher(TeacherConfig(**options), State(network(0)), context(tmp_path)), given)
        named = TeacherConfig(spec="digits_cnn", options={"num_classes": 10}, **options)
        assert same(teacher(named, State(network(0)), context(tmp_path)), given)
    with pytest.raises(RecipeError, match="NO_SUCH_FOLDER"):
        teacher(TeacherConfig(weights="${NO_SUCH_FOLDER}/x"), State(network(0)), context(tmp_path))
    with pytest.raises(ArtifactError):
        teacher(TeacherConfig(weights=str(tmp_path / "missing")), State(network(0)), context(tmp_path))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"epochs": 2}, r"steps\.1\.select: self-selection needs a budget"),
        ({"epochs": 2, "strength": 0.1, "ema_decay": 0.9}, "averaged coefficients are never zero"),
        ({"epochs": 2, "strength": 0.1, "ways": ["class", "graph"]}, "cut as a graph has no feature maps"),
        ({"epochs": 2, "strength": 0.1, "distill": {"kind": "logits", "alpha": 1.5}}, "'logits' has no key 'alpha'"),
        (
            {"epochs": 2, "strength": 0.1, "distill": {"kind": "logits", "temprature": 2}},
            r"unknown key 'temprature'\. Did you mean 'temperature'",
        ),
    ],
)
def test_what_is_wrong_in_a_recipe_is_named(config: dict[str, Any], message: str):
    recipe = {"name": "x", "model": {"spec": "digits_cnn"}, "data": {"spec": "digits"}, "steps": [{"select": config}]}
    with pytest.raises(RecipeError, match=message):
        parse_recipe(recipe)
