"""Step `search` in a run: within the budget, resumed after a kill, never judged on a test image."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import convslim
from convslim.data import DataSource, Split, open_data
from convslim.data.source import TensorReader
from convslim.errors import ArtifactError, BudgetError, DataError, RecipeError
from convslim.pipeline import load_recipe, parse_recipe, run
from convslim.pipeline.state import Context, State
from convslim.pipeline.steps.search import BEST, SearchStep, run_search
from convslim.pipeline.steps.search_images import judging_images
from convslim.pipeline.steps.search_setup import STORAGE
from convslim.report import RunRecord
from convslim.search.evaluation_views import ViewEvaluator

RECIPE = Path(__file__).with_name("search.yaml")
SCRIPT = Path(__file__).with_name("killed_search.py")


def facts(record: RunRecord) -> dict[str, Any]:
    """What the search found, without times and places."""
    details: dict[str, Any] = json.loads(json.dumps(record.steps[1].details))
    found = details["search"]
    for entry in [*found["candidates"], *found["generations"]]:
        entry["seconds"] = 0
    return {key: details[key] for key in ("search", "channels", "study", "genes")} | {"right": record.steps[1].correct}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Path]:
    out = tmp_path_factory.mktemp("whole") / "run"
    return run(load_recipe(RECIPE), out, quiet=True), out


def test_every_candidate_is_in_the_record_and_the_best_is_cut(whole: tuple[RunRecord, Path]):
    record, out = whole
    details = record.steps[1].details
    candidates = details["search"]["candidates"]
    assert len(candidates) == 15 == details["search"]["evaluated"]
    assert {candidate["generation"] for candidate in candidates} == {0, 1, 2}
    assert all(candidate["costs"]["macs"] <= 0.5 * record.base_macs for candidate in candidates)
    assert any(candidate["parents"] for candidate in candidates if candidate["generation"])
    assert not any(candidate["parents"] for candidate in candidates if not candidate["generation"])
    assert len({candidate["plan"] for candidate in candidates}) == 15
    best = next(each for each in candidates if each["name"] == details["search"]["best"])
    assert best["fitness"][0] == max(each["fitness"][0] for each in candidates if each["complete"])
    assert record.steps[1].macs == best["costs"]["macs"]
    plan = convslim.PruningPlan.load(out / "model" / "plan.json")
    assert [len(plan.kept[gene]) for gene in details["genes"]] == best["widths"]
    assert details["certificate"]["relative_error"] <= 1e-4
    assert details["held_out"]
    assert plan == convslim.PruningPlan.load(out / "steps" / "02-search" / BEST)


def test_killed_in_mid_generation_it_resumes_to_the_same_bits(
    tmp_path: Path, whole: tuple[RunRecord, Path], monkeypatch: pytest.MonkeyPatch
):
    command = [sys.executable, str(SCRIPT), "8", "-", "run", str(RECIPE), "--out", str(tmp_path), "--quiet"]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    evaluate, calls = ViewEvaluator.__call__, []

    def counted(self: ViewEvaluator, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return evaluate(self, *arguments, **options)

    monkeypatch.setattr(ViewEvaluator, "__call__", counted)
    record = run(load_recipe(RECIPE), tmp_path, resume=True, quiet=True)
    assert facts(record) == facts(whole[0])
    assert len(calls) == 15 - 7
    found, expected = (load_file(folder / "model" / "model.safetensors") for folder in (tmp_path, whole[1]))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@dataclass(frozen=True, eq=False)
class Forbidden(TensorReader):
    """Raises when a row is read that must not be."""

    forbidden: frozenset[int] = frozenset()

    def read(self, batches: Sequence[Tensor], seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in batches:
            touched = self.forbidden & set(rows.tolist())
            if touched:
                raise AssertionError(f"{len(touched)} test images were read")
        return super().read(batches, seed)


def guarded(source: DataSource) -> DataSource:
    """The same data, whose test images must not be read."""

    def guard(split: Any) -> Split:
        reader = Forbidden(split.reader.images, split.reader.labels, frozenset(source.test.rows.tolist()))  # type: ignore[attr-defined]
        return replace(split, reader=reader)

    held = None if source.holdout is None else guard(source.holdout)
    return replace(source, train=guard(source.train), test=guard(source.test), holdout=held)


def context(source: DataSource, tmp_path: Path) -> Context:
    work = tmp_path / ".01-search"
    return Context(source, source.example_input(), lambda: network(), tmp_path, work, quiet=True)


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return convslim.models.create("digits_cnn")


SMALL = SearchStep.model_validate(
    {"budget": {"macs": 0.5}, "population": 3, "generations": 2, "num_batches": 1, "batch_size": 64, "num_images": 100}
)


@pytest.mark.parametrize("criterion", ["bn_scale", "taylor"])
def test_no_test_image_gets_into_fitness(tmp_path: Path, criterion: str):
    source = guarded(open_data("digits", holdout=0.1))
    config = SMALL.model_copy(update={"criterion": criterion})
    outcome = run_search(config, State(network()), context(source, tmp_path))
    assert len(outcome.details["search"]["candidates"]) == 6
    with pytest.raises(AssertionError, match="test images were read"):  # the guard itself works
        run_search(config, State(network()), context(replace(source, holdout=source.test), tmp_path / "other"))


@pytest.mark.parametrize("holdout", [None, 0.1])
def test_images_that_count_are_not_those_of_the_statistics(holdout: float | None):
    source = open_data("digits") if holdout is None else open_data("digits", holdout=holdout)
    found = judging_images(source, num_images=100, num_batches=3, batch_size=64, seed=1)
    assert found.held_out == (holdout is not None)
    assert (len(found.images.images), len(found.images.calibration)) == (100, 3)

    def rows(images: Tensor) -> set[bytes]:
        return {image.numpy().tobytes() for image in images}

    counted = rows(found.images.images)
    everything = {"train": source.train, "test": source.test, "holdout": source.holdout}
    parts = {name: rows(next(iter(part.batches(9999)))[0]) for name, part in everything.items() if part is not None}
    assert counted <= parts["train" if holdout is None else "holdout"]
    assert not counted & parts["test"]
    assert not counted & rows(torch.cat(list(found.images.calibration)))
    assert rows(torch.cat(list(found.images.calibration))) <= parts["train"]


def test_truncated_storage_is_a_clear_error_and_the_best_plan_is_kept(tmp_path: Path, whole: tuple[RunRecord, Path]):
    command = [sys.executable, str(SCRIPT), "8", "-", "run", str(RECIPE), "--out", str(tmp_path), "--quiet"]
    subprocess.run(command, capture_output=True, timeout=240)
    work = tmp_path / "steps" / ".02-search"
    storage = work / STORAGE
    for rest in work.glob(f"{STORAGE}-*"):
        rest.unlink()
    storage.write_bytes(storage.read_bytes()[:5000])
    with pytest.raises(ArtifactError, match=rf"Step 2 \(search\): .*{STORAGE}, cannot be used"):
        run(load_recipe(RECIPE), tmp_path, resume=True, quiet=True)
    best = convslim.PruningPlan.load(work / BEST)
    assert best.removed
    storage.unlink()
    with pytest.raises(ArtifactError, match="has lost its candidates"):
        run(load_recipe(RECIPE), tmp_path, resume=True, quiet=True)
    shutil.rmtree(work)
    assert facts(run(load_recipe(RECIPE), tmp_path, resume=True, quiet=True)) == facts(whole[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("criterion=bn_scal", "there is no criterion 'bn_scal' for a search"),
        ("options={draws: 3}", "bn_scale"),
        ("budget=null", "objective accuracy needs a budget"),
        ("objective=paretto", "objective"),
        ("forms=quantile", "Did you mean 'form'"),
        ("mutation=0", "greater than 0"),
    ],
)
def test_configurations_are_checked(change: str, message: str):
    with pytest.raises(RecipeError, match=message):
        load_recipe(RECIPE, [f"steps.search.{change}"])


def test_forecasts_are_of_one_number():
    with pytest.raises(RecipeError, match="forecasts are of one number"):
        load_recipe(RECIPE, ["steps.search.objective=pareto", "steps.search.forecasts=3"])


def test_a_budget_out_of_reach_is_told_before_the_training(tmp_path: Path):
    with pytest.raises(BudgetError, match=r"Step 2 \(search\): .* cannot be reached"):
        run(load_recipe(RECIPE, ["steps.search.budget.macs=0.01"]), tmp_path, quiet=True)
    source = open_data("digits")
    with pytest.raises(DataError, match="Lower num_images"):
        judging_images(source, num_images=1437, num_batches=1, batch_size=64, seed=0)


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": "pareto", "form": "quantile"},
        {"objective": "adjustable", "budget": None, "weight": 0.3},
        {"sampler": "random", "criterion": "l1"},
        {"forecasts": 2, "table_widths": 2, "parents": "top"},
    ],
)
def test_other_searches_run(tmp_path: Path, changes: dict[str, Any]):
    outcome = run_search(SMALL.model_copy(update=changes), State(network()), context(open_data("digits"), tmp_path))
    found = outcome.details["search"]
    assert len(found["candidates"]) == 6
    assert (found["table"] is not None) == ("forecasts" in changes)
    assert bool(found["front"]) == (changes.get("objective") == "pareto")
    if changes.get("budget", "") is not None:
        assert outcome.model is not None
        source = open_data("digits")
        before = convslim.cost(network(), source.example_input()).macs
        assert convslim.cost(outcome.model, source.example_input()).macs <= 0.5 * before


def test_configuration_reads_back():
    recipe = load_recipe(RECIPE)
    assert parse_recipe(recipe.to_data()).to_data() == recipe.to_data()
