"""Method `gfr` as steps: relation modules through sparse training, cut, folding, and a kill in the middle."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from convslim import models
from convslim.channels.trace import trace
from convslim.cli.network import artifact_factory
from convslim.errors import RecipeError
from convslim.pipeline import Recipe, parse_recipe, run
from convslim.report import RunRecord
from convslim.sparsity import Relations, insert_relations_, relations_in
from convslim.surgery import remove
from convslim.surgery.artifact import load
from convslim.surgery.plan import PruningPlan

SCRIPT = Path(__file__).with_name("killed_run.py")
TRAIN = {"epochs": 2, "batch_size": 32, "lr": 0.05, "steps_per_epoch": 4, "evaluate_every": 9}
SPARSIFY = {"sparsify": {**TRAIN, "strength": 0.005, "method": "proximal", "gfr": {}}}
TUNE = {"finetune": {**TRAIN, "epochs": 1}}
X = torch.randn(2, 1, 8, 8)


def prune(**changes: Any) -> dict[str, Any]:
    return {"prune": {"criterion": "gfr", "budget": {"macs": 0.5}, "num_batches": 2, **changes}}


def recipe(*steps: Any) -> Recipe:
    head = {"name": "gfr", "threads": 1, "model": {"spec": "digits_cnn"}, "data": {"spec": "digits"}}
    return parse_recipe({**head, "evaluation": {"limit": 64}, "steps": list(steps)})


def network() -> torch.nn.Module:
    return models.create("digits_cnn")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRecord]:
    out = tmp_path_factory.mktemp("gfr") / "run"
    return out, run(recipe(SPARSIFY, prune(), TUNE), out, quiet=True)


def test_the_cut_network_is_the_users_own(done: tuple[Path, RunRecord]):
    out, record = done
    assert relations_in(artifact_factory(record.model_dump(), out)()) is None
    assert [step.kind for step in record.steps] == ["sparsify", "prune", "finetune"]
    small = load(out / "model", network)
    assert relations_in(small) is None
    assert list(small.state_dict()) == list(network().state_dict())
    sparse, cut = record.steps[0], record.steps[1]
    assert sparse.params > record.base_params
    assert cut.details["macs_before"] == record.base_macs
    assert 0.49 <= cut.macs / record.base_macs <= 0.5
    assert len(sparse.details["gfr"]["places"]) == 10
    assert all(0 < sr < 1 for values in cut.details["gfr"]["factors"].values() for sr in values)


def test_the_plan_replays_on_the_users_network(done: tuple[Path, RunRecord]):
    out, _ = done
    plan = PruningPlan.load(out / "model" / "plan.json")
    shapes = {name: value.shape for name, value in remove(network().eval(), plan, X[:1]).state_dict().items()}
    assert shapes == {name: value.shape for name, value in load(out / "model", network).state_dict().items()}


def test_reconstruction_follows_the_folded_network(done: tuple[Path, RunRecord], tmp_path: Path):
    record = run(recipe(SPARSIFY, prune(), {"reconstruct": {"num_images": 200, "compared": 100}}), tmp_path, quiet=True)
    details = record.steps[-1].details
    assert details["parity"]["kl"] < details["parity_before"]["kl"]


def same_weights(one: Path, other: Path) -> bool:
    weights, expected = (load_file(out / "model" / "model.safetensors") for out in (one, other))
    return weights.keys() == expected.keys() and all(torch.equal(weights[name], expected[name]) for name in weights)


def test_kept_modules_are_there_again_after_an_interruption(tmp_path: Path):
    steps = (SPARSIFY, prune(options={"keep_gfr": True}), TUNE)
    run(recipe(*steps), tmp_path / "whole", quiet=True)
    for stop in (1, 2):

        def interrupt(number: int, step: object, stop: int = stop) -> None:
            if number == stop:
                raise KeyboardInterrupt

        out = tmp_path / f"stopped-{stop}"
        with pytest.raises(KeyboardInterrupt):
            run(recipe(*steps), out, quiet=True, on_step=interrupt)
        torch.manual_seed(stop)
        run(recipe(*steps), out, resume=True, quiet=True)
        assert same_weights(out, tmp_path / "whole")


# Flushes: 1 recipe, 2 empty metrics, 3–4 and 5–6 two epochs with modules, 7–… the network with them, later the cut.
@pytest.mark.parametrize("flush", [5, 13])
def test_killed_run_resumes_to_the_same_bits(done: tuple[Path, RunRecord], tmp_path: Path, flush: int):
    file = tmp_path / "gfr.yaml"
    file.write_text(json.dumps(recipe(SPARSIFY, prune(), TUNE).to_data()))
    killed = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "run"), str(flush), str(file)], capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    assert not (tmp_path / "run" / "steps" / "02-prune").exists()
    run(recipe(SPARSIFY, prune(), TUNE), tmp_path / "run", resume=True, quiet=True)
    assert same_weights(tmp_path / "run", done[0])


def test_kept_modules_are_sliced_with_the_network(tmp_path: Path):
    record = run(recipe(SPARSIFY, prune(options={"keep_gfr": True}), TUNE), tmp_path, quiet=True)
    relations = Relations.from_data(record.steps[0].details["gfr"])
    assert relations_in(artifact_factory(record.model_dump(), tmp_path)()) == relations
    small = load(tmp_path / "model", lambda: insert_relations_(network(), relations)).eval()
    assert relations_in(small) == relations
    for place in relations.places:
        width = len(small.get_parameter(f"{place.norm}.weight"))
        assert small.get_parameter(f"{place.host}.gfr.squeeze.weight").shape[1] == width
        assert small.get_parameter(f"{place.host}.gfr.excite.weight").shape[0] == width
        whole = network().get_parameter(f"{place.norm}.weight").numel()
        assert small.get_parameter(f"{place.host}.gfr.squeeze.weight").shape[0] == max(whole // 16, 4)
    plan = PruningPlan.load(tmp_path / "model" / "plan.json")
    assert plan.kept.keys() == {group.name for group in trace(network(), X).groups}
    remove(network().eval(), plan, X[:1])


@pytest.mark.parametrize("importance", ["gamma", "sr", "weighted"])
def test_other_importances(done: tuple[Path, RunRecord], importance: str):
    out, first = done
    again = out.with_name(importance)
    record = run(recipe(SPARSIFY, prune(options={"importance": importance, "weight": 0.3})), again, quiet=True)
    assert record.steps[1].macs <= 0.5 * record.base_macs
    assert record.steps[0].loss == first.steps[0].loss


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ((prune(),), r"Step 1 \(prune\): Criterion 'gfr' ranks channels by relation modules.*has none"),
        ((SPARSIFY, prune(), prune(budget={"macs": 0.9})), r"Step 3 \(prune\)"),
        ((SPARSIFY, prune(options={"keep_gfr": True}), {"reconstruct": {}}), "leave reconstruct out"),
    ],
)
def test_orders_that_cannot_work_are_refused(tmp_path: Path, steps: tuple[Any, ...], message: str):
    with pytest.raises(RecipeError, match=message):
        run(recipe(*steps), tmp_path, quiet=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"importanc": "sr"}, "Did you mean 'importance'"),
        ({"importance": "mean"}, r"steps\.2\.prune\.options: option 'importance' of criterion 'gfr'"),
        ({"weight": 2}, "option 'weight' of criterion 'gfr': .*less than or equal to 1"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(RecipeError, match=message):
        recipe(SPARSIFY, prune(options=options))


def test_options_of_another_criterion_reach_it():
    with pytest.raises(RecipeError, match="'l1' has no option 'power'"):
        recipe({"prune": {"criterion": "l1", "options": {"power": 2}, "budget": {"macs": 0.5}}})
