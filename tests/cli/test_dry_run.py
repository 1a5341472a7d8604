"""`convslim run --dry-run` checks, times a few steps, and writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.test_cli import TINY, call

from convslim.errors import ExportError
from convslim.pipeline import parse_recipe, run
from convslim.pipeline.estimate import estimate

STEPS = [
    {"train": {"epochs": 4, "batch_size": 64, "evaluate_every": 4}},
    {"prune": {"criterion": "l1", "budget": {"macs": 0.5}}},
    {"finetune": {"epochs": 4, "batch_size": 64, "evaluate_every": 4}},
    "export",
]


def recipe(steps=STEPS):
    return parse_recipe(
        {"name": "r", "threads": 1, "model": {"spec": "digits_cnn"}, "data": {"spec": "digits"}, "steps": steps}
    )


def test_a_cut_halves_what_follows(tmp_path: Path):
    found = estimate(recipe(), tmp_path / "run")
    train, prune, finetune, export = (step.seconds for step in found.steps)
    assert train > finetune > 0
    assert finetune == pytest.approx(train / 2, rel=1e-6)
    assert 0 < prune < train
    assert export > 0
    assert found.seconds == pytest.approx(train + prune + finetune + export)
    assert found.disk >= 4 * 60_346 * 4
    assert found.memory is None or found.memory > 2**25
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_is_timed_doubles(tmp_path: Path):
    files = [{"export": {"latency": None}}, {"export": {"file": "b.onnx"}}, {"bench": {"repeats": 50}}, {"bench": {}}]
    plain, timed, bench, longer = (step.seconds for step in estimate(recipe(files), tmp_path).steps)
    assert timed > 2 * plain
    assert longer == pytest.approx(bench * 110 / 60)


def test_the_estimate_is_within_a_factor_of_three(tmp_path: Path):
    few = {"epochs": 2, "batch_size": 64, "steps_per_epoch": 10, "lr": 0.05}
    steps = [
        {"train": few},
        {"prune": {"criterion": "l1", "budget": {"macs": 0.5}}},
        {"reconstruct": {"num_images": 400, "compared": 100}},
        {"finetune": few},
        {"export": {"latency": None}},
        {"quantize": {"num_images": 100}},
        {"bench": {"repeats": 50}},
    ]
    # The recipe's own clock is the wall's, and other tests run: a miss is measured once more.
    for turn in range(2):
        expected = estimate(recipe(steps), tmp_path).seconds
        taken = sum(step.seconds for step in run(recipe(steps), tmp_path / f"run-{turn}", quiet=True).steps)
        if taken / 3 < expected < 3 * taken:
            return
    pytest.fail(f"{expected:.1f} s were expected, {taken:.1f} s taken")


def test_what_cannot_be_exported_is_met_before_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise ExportError("no file")

    monkeypatch.setattr("convslim.pipeline.pace.export_onnx", refuse)
    with pytest.raises(ExportError, match=r"Step 4 \(export\): no file"):
        estimate(recipe(), tmp_path)


def test_more_epochs_take_longer(tmp_path: Path):
    longer = [{"train": {"epochs": 400, "batch_size": 64, "evaluate_every": 4}}]
    short = estimate(recipe(STEPS[:1]), tmp_path).steps[0].seconds
    long = estimate(recipe(longer), tmp_path).steps[0].seconds
    assert long > 20 * short  # a hundred times, on a machine that is evenly busy


def test_text_and_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    text = call("run", TINY, "--dry-run")
    assert "nothing was written" in text
    assert "[1/" in text
    assert "are free for runs/" in text
    data = json.loads(call("run", TINY, "--dry-run", "--json"))
    assert data["seconds"] > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("steps=[{prune: {criterion: l1, budget: {macs: 0.01}}}]", "Step 1 (prune)"),
        ("model.weights=none.pt", "none.pt"),
        ("data.spec=imagefolder:none", "none"),
    ],
)
def test_what_the_run_would_meet_is_met(change: str, message: str, tmp_path: Path):
    assert message in call("run", TINY, "--out", tmp_path / "run", "--dry-run", "--set", change, code=1)
    assert not (tmp_path / "run").exists()
