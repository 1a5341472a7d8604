"""Whole searches in a storage: the optimum, no plan twice, the same result after a kill, and damaged storages."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.search.landscape import TARGET, Landscape, search, space

from convslim.errors import ArtifactError, ModelError
from convslim.search.evaluation import Evaluation
from convslim.search.genetic import Draft
from convslim.search.ledger import TABLE
from convslim.search.result import SearchResult
from convslim.search.settings import SearchSettings
from convslim.search.standing import Standing
from convslim.search.storage import open_storage
from convslim.surgery.plan import PruningPlan

SMALL = SearchSettings(population=6, generations=3, seed=1)
SPACE = space()


def facts(result: SearchResult) -> list[dict[str, Any]]:
    """All that a search found, without times."""
    return [{**candidate.to_data(), "seconds": 0} for candidate in result.candidates]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    return search(tmp_path_factory.mktemp("whole") / "search.journal", Landscape(), SMALL, searched=SPACE).work()


def test_finds_the_optimum_and_evaluates_no_plan_twice():
    evaluator = Landscape()
    settings = SearchSettings(population=30, generations=20, seed=2)
    result = search(None, evaluator, settings, searched=SPACE).work()
    assert result.best.widths == TARGET
    assert len(set(evaluator.seen)) == len(evaluator.seen) == len(result.candidates) == result.num_evaluated == 600
    assert all(SPACE.within(SPACE.counts(candidate.widths)) for candidate in result.candidates)
    assert [report["best_fitness"] for report in result.generations] == sorted(
        report["best_fitness"] for report in result.generations
    )
    assert result.generations[-1]["given_up"] > 0
    assert result.best.complete


@pytest.mark.parametrize("name", ["search.db", "search.journal"])
def test_the_storage_does_not_change_the_search(tmp_path: Path, whole: SearchResult, name: str):
    assert facts(search(tmp_path / name, Landscape(), SMALL, searched=SPACE).work()) == facts(whole)


class Killed(BaseException):
    """Ends a worker as Ctrl-C would."""


@pytest.mark.parametrize("name", ["search.db", "search.journal"])
def test_interrupted_in_mid_generation_it_resumes_to_the_same_result(tmp_path: Path, whole: SearchResult, name: str):
    class Interrupted(Landscape):
        def __call__(self, plan: PruningPlan, *, hopeless_below: float | None = None) -> Evaluation:
            if len(self.seen) == 9:
                raise Killed
            return super().__call__(plan, hopeless_below=hopeless_below)

    first = Interrupted()
    with contextlib.suppress(Killed):
        search(tmp_path / name, first, SMALL, searched=SPACE).work()
    second = Landscape()
    result = search(tmp_path / name, second, SMALL, searched=SPACE).work()
    assert facts(result) == facts(whole)
    assert len(first.seen) + len(second.seen) == 18
    third = Landscape()
    assert facts(search(tmp_path / name, third, SMALL, searched=SPACE).work()) == facts(whole)
    assert third.seen == []


def test_the_same_plan_shares_its_evaluation(tmp_path: Path):
    evaluator = Landscape()
    made = search(tmp_path / "search.journal", evaluator, SMALL, searched=SPACE)
    genome, counts = SPACE.starts()[1]
    made._drafts[0] = [Draft(genome, counts), Draft(genome * 0.999, counts)]
    made._drafts[1] = []
    result = made.work()
    assert len(evaluator.seen) == result.num_evaluated == 1
    names = {candidate.shared_with for candidate in result.candidates}
    assert len(names) == 2
    assert None in names
    assert result.candidates[0].fitness == result.candidates[1].fitness


def test_random_search_takes_as_many_evaluations_and_the_same_start(tmp_path: Path, whole: SearchResult):
    settings = SearchSettings(population=6, generations=3, seed=1, sampler="random")
    result = search(tmp_path / "search.journal", Landscape(), settings, searched=SPACE).work()
    assert len(result.candidates) == len(whole.candidates)
    assert facts(result)[:6] == facts(whole)[:6]
    assert all(candidate.parents == () for candidate in result.candidates)


def test_adjustable_form_trades_accuracy_for_cost(tmp_path: Path):
    free = space({}, round_to=8)
    settings = SearchSettings(population=12, generations=6, seed=0)
    result = search(tmp_path / "a.journal", Landscape(), settings, searched=free, kind="adjustable").work()
    best, cost = result.best, free.cost(free.whole())["macs"]
    assert best.fitness[0] == pytest.approx(best.measured + 0.2 * (1 - best.costs["macs"] / cost))
    assert best.fitness[0] == max(each.fitness[0] for each in result.candidates if each.complete)


def test_pareto_front_and_the_best_within_the_budget(tmp_path: Path):
    searched = space({"macs": 0.5}, round_to=8, repair=False)
    settings = SearchSettings(population=16, generations=6, seed=0)
    result = search(tmp_path / "p.journal", Landscape(), settings, searched=searched, kind="pareto").work()
    members = [each for each in result.candidates if each.name in result.front]
    assert len(members) > 3
    for one in members:
        assert not any(
            other.measured >= one.measured and other.costs["macs"] < one.costs["macs"] for other in result.candidates
        )
    assert searched.within(result.counts)
    inside = [each for each in result.candidates if searched.within(searched.counts(each.widths))]
    assert len(inside) < len(result.candidates)
    assert result.best.measured == max(each.measured for each in inside)


def test_sensitivity_table_forecasts_and_is_judged(tmp_path: Path):
    settings = SearchSettings(population=10, generations=4, forecasts=4, seed=0)
    evaluator = Landscape(target=(48, 48, 48, 48))  # losses of groups add up, so forecasts are right
    result = search(tmp_path / "t.journal", evaluator, settings, searched=SPACE).work()
    assert result.table is not None
    assert len(result.table["measured"]) == 1 + 4 * 3
    assert len(evaluator.seen) == len(set(evaluator.seen))
    assert "kendall" not in result.generations[0]
    assert all(report["kendall"] >= 0.9 for report in result.generations[1:] if report["kendall"] is not None)
    drawn = [each for each in result.candidates if each.forecast is not None and each.complete]
    assert drawn
    assert all(each.forecast == pytest.approx(each.measured, abs=1e-3) for each in drawn)
    assert all(candidate.generation != TABLE for candidate in result.candidates)


def test_watch_sees_the_best_so_far(tmp_path: Path, whole: SearchResult):
    seen: list[Standing] = []
    search(tmp_path / "search.journal", Landscape(), SMALL, searched=SPACE).work(seen.append)
    assert (seen[0].finished, seen[0].best, seen[-1].finished, seen[-1].total) == (0, None, 18, 18)
    assert seen[-1].best is not None
    assert seen[-1].best.name == whole.best.name


def test_an_evaluation_that_fails_is_told_and_its_slot_stays_open(tmp_path: Path, whole: SearchResult):
    class Broken(Landscape):
        def __call__(self, plan: PruningPlan, *, hopeless_below: float | None = None) -> Evaluation:
            raise ModelError("the network fails")

    with pytest.raises(ModelError, match="the network fails"):
        search(tmp_path / "search.journal", Broken(), SMALL, searched=SPACE).work()
    assert facts(search(tmp_path / "search.journal", Landscape(), SMALL, searched=SPACE).work()) == facts(whole)


def test_another_search_under_the_same_name_is_refused(tmp_path: Path, whole: SearchResult):
    search(tmp_path / "search.journal", Landscape(), SMALL, searched=SPACE)
    with pytest.raises(ArtifactError, match=r"another search \(seed: 1 → 2\)"):
        search(tmp_path / "search.journal", Landscape(), SearchSettings(population=6, generations=3, seed=2))


@pytest.mark.parametrize("name", ["search.db", "search.journal"])
def test_truncated_storage_is_a_clear_error(tmp_path: Path, name: str):
    path = tmp_path / name
    search(path, Landscape(), SMALL, searched=SPACE).work()
    for rest in tmp_path.glob(f"{name}-*"):
        rest.unlink()  # SQLite's log of what is not yet in the file
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3 - 7] + (b"\n{}\n" if name.endswith("l") else b""))
    with pytest.raises(ArtifactError, match=f"{name}, cannot be used: .* Put a copy back"):
        search(path, Landscape(), SMALL, searched=SPACE).work()


def test_locked_storage_is_a_clear_error_and_keeps_what_was_found(tmp_path: Path, whole: SearchResult):
    path = tmp_path / "search.db"
    made = search(path, Landscape(), SMALL, searched=SPACE, lock_timeout=0.1)
    other = sqlite3.connect(path)
    other.execute("begin exclusive")
    with pytest.raises(ArtifactError, match=r"search\.db, is locked by another process"):
        made.work()
    other.rollback()
    other.close()
    assert facts(made.work()) == facts(whole)


@pytest.mark.parametrize("spec", ["search.txt", "nothing://x"])
def test_unknown_storages(spec: str):
    with pytest.raises(ArtifactError, match=r"is no storage of a search|cannot be used"):
        open_storage(spec)


def test_results_are_json_values(whole: SearchResult):
    data = whole.to_data()
    assert data["best"] == whole.best.name
    assert len(data["candidates"]) == 18
    assert {"name", "genome", "costs", "fitness", "generation", "parents"} <= data["candidates"][0].keys()
    assert np.isclose(whole.best.measured, whole.best.fitness[0])
