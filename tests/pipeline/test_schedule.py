"""Pruning in rounds: budgets of the network before all of them, a proof in each, and resuming inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from convslim import models
from convslim.errors import RecipeError
from convslim.pipeline import Recipe, load_recipe, parse_recipe, run
from convslim.pipeline.steps.schedule import Schedule
from convslim.surgery import remove
from convslim.surgery.plan import PruningPlan

SHORT = {"epochs": 1, "batch_size": 32, "lr": 0.05, "steps_per_epoch": 3}
HEAD = {"name": "rounds", "threads": 1, "model": {"spec": "digits_cnn"}, "data": {"spec": "digits"}}


def recipe(*steps: Any, **changes: Any) -> Recipe:
    return parse_recipe({**HEAD, "evaluation": {"limit": 64}, **changes, "steps": list(steps)})


def prune(schedule: dict[str, Any], macs: float | int = 0.4, **changes: Any) -> dict[str, Any]:
    given = {"criterion": "l1", "budget": {"macs": macs}, "round_to": 1, **changes}
    return {"prune": {**given, "schedule": schedule}}


GRADUAL = {"kind": "gradual", "rounds": 3, "tune": SHORT}


@pytest.mark.parametrize(
    ("kind", "shares"), [("gradual", [0.5778, 0.4222, 0.4]), ("iterative", [0.8, 0.6, 0.4])], ids=["gradual", "equal"]
)
def test_every_round_meets_its_share_and_is_proven(tmp_path: Path, kind: str, shares: list[float]):
    record = run(recipe({"train": SHORT}, prune({**GRADUAL, "kind": kind})), tmp_path, quiet=True)
    assert [step.kind for step in record.steps] == ["train", "prune", "finetune", "prune", "finetune", "prune"]
    cuts = [step for step in record.steps if step.kind == "prune"]
    for cut, share in zip(cuts, shares, strict=True):
        assert share - 0.01 <= cut.macs / record.base_macs <= share
        assert cut.details["certificate"]["relative_error"] < 1e-4
    plan = PruningPlan.load(tmp_path / "model" / "plan.json")
    small = remove(models.create("digits_cnn").eval(), plan, torch.zeros(1, 1, 8, 8))
    assert sum(parameter.numel() for parameter in small.parameters()) == record.steps[-1].params


def test_fractions_are_of_the_network_before_the_first_round(tmp_path: Path):
    before = {"prune": {"criterion": "l1", "budget": {"macs": 0.8}, "round_to": 1}}
    record = run(recipe(before, prune({**GRADUAL, "kind": "iterative"}, 0.5)), tmp_path, quiet=True)
    start = record.steps[0].macs
    assert 0.49 * start <= record.steps[-1].macs <= 0.5 * start
    assert 0.82 * start <= record.steps[1].macs <= 0.834 * start


def test_an_absolute_budget_stays_one(tmp_path: Path):
    record = run(recipe(prune({"kind": "iterative", "rounds": 2, "tune": SHORT}, 500_000)), tmp_path, quiet=True)
    assert [step.macs <= limit for step, limit in zip(record.steps[::2], (828_016, 500_000), strict=True)] == [True] * 2
    assert record.steps[-1].macs > 490_000


def test_an_interruption_between_rounds_changes_nothing(tmp_path: Path):
    steps = ({"train": SHORT}, prune(GRADUAL))
    whole = run(recipe(*steps), tmp_path / "whole", quiet=True)

    def interrupt(number: int, step: object) -> None:
        if number == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(recipe(*steps), tmp_path / "run", quiet=True, on_step=interrupt)
    resumed = run(recipe(*steps), tmp_path / "run", resume=True, quiet=True)
    assert [step.loss for step in resumed.steps] == [step.loss for step in whole.steps]


def test_a_written_out_recipe_is_the_same_recipe():
    once = recipe({"train": SHORT}, prune(GRADUAL))
    assert parse_recipe(once.to_data()) == once


def test_relation_modules_stay_until_the_last_round(tmp_path: Path):
    sparsify = {"sparsify": {**SHORT, "gfr": {}}}
    steps = (sparsify, prune(GRADUAL, criterion="gfr", num_batches=1))
    record = run(recipe(*steps), tmp_path, quiet=True)
    assert [bool(step.details.get("gfr")) for step in record.steps] == [True, True, False, True, False, True]
    assert 0.39 * record.base_macs <= record.steps[-1].macs <= 0.4 * record.base_macs
    plan = PruningPlan.load(tmp_path / "model" / "plan.json")
    small = remove(models.create("digits_cnn").eval(), plan, torch.zeros(1, 1, 8, 8))
    assert sum(parameter.numel() for parameter in small.parameters()) == record.steps[-1].params


def test_rounds_on_a_graph(tmp_path: Path):
    images = tmp_path / "images.py"
    images.write_text(
        "import torch\n\n"
        "def data():\n"
        "    sets = [(torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8), torch.arange(n) % 10) for n in (40, 20)]\n"
        "    return tuple(torch.utils.data.TensorDataset(x / 255, y) for x, y in sets)\n"
    )
    steps = (prune({"kind": "iterative", "rounds": 2, "tune": {**SHORT, "batch_size": 10, "augment": False}}, 0.5),)
    changes = {
        "model": {"spec": "resnet20_cifar"},
        "data": {"spec": f"{images}:data", "options": {"num_classes": 10}},
        "evaluation": {"limit": 20},
    }
    record = run(recipe(*steps, **changes), tmp_path / "run", quiet=True)
    assert [step.details["way"] for step in record.steps[::2]] == ["graph", "graph"]
    assert record.steps[-1].macs <= 0.5 * record.base_macs


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"kind": "gradual", "rounds": 3}, "a schedule needs tune"),
        ({"kind": "gradul", "tune": SHORT}, "'one-shot', 'iterative' or 'gradual'"),
        ({"kind": "gradual", "round": 9, "rounds": 2}, "no round 9 of 2"),
        ({"kind": "gradual", "rond": 2, "tune": SHORT}, r"schedule\.rond: unknown key 'rond'"),
        ({"kind": "gradual", "rounds": 2, "tune": {"epoch": 1}}, r"schedule\.tune\.epoch: unknown key 'epoch'"),
    ],
)
def test_wrong_schedules_are_refused(schedule: dict[str, Any], message: str):
    with pytest.raises(RecipeError, match=message):
        recipe(prune(schedule))


def test_overrides_reach_into_a_schedule(tmp_path: Path):
    file = tmp_path / "rounds.yaml"
    file.write_text(
        "name: rounds\nmodel: {spec: digits_cnn}\ndata: {spec: digits}\nsteps:\n"
        "  - prune: {budget: {macs: 0.5}, schedule: {rounds: 3, tune: {epochs: 1}}}\n"
    )
    assert len(load_recipe(file).steps) == 5
    assert len(load_recipe(file, ["steps.prune.schedule.rounds=2"]).steps) == 3
    assert len(load_recipe(file, ["steps.prune.schedule.kind=one-shot"]).steps) == 1


@pytest.mark.parametrize("kind", ["one-shot", "iterative", "gradual"])
def test_the_last_round_reaches_the_budget(kind: Any):
    rounds = [Schedule(kind=kind, rounds=5, round=r) for r in range(1, 2 if kind == "one-shot" else 6)]
    left = [schedule.left(1000, 300) for schedule in rounds]
    assert left == sorted(left, reverse=True)
    assert left[-1] == 300
