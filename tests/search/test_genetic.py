"""Generations: new plans only, elitism, the known optimum, and better than chance."""

from __future__ import annotations

import numpy as np
import pytest
from tests.search.landscape import TARGET, space

from convslim.errors import PlanError
from convslim.search.candidate import Candidate
from convslim.search.genetic import Draft, bred, survivors
from convslim.search.settings import SearchSettings
from convslim.search.space import Space

SPACE = space()


def judged(searched: Space, generation: int, drafts: list[Draft]) -> list[Candidate]:
    """Candidates whose fitness falls with the distance from the target."""
    found = []
    for slot, draft in enumerate(drafts):
        widths = searched.widths(draft.counts)
        share = 1 - sum(abs(width - wanted) for width, wanted in zip(widths, TARGET, strict=True)) / (4 * 48)
        genome = dict(zip(searched.genes, draft.genome.tolist(), strict=True))  # type: ignore[union-attr]
        key, costs = searched.key(draft.counts), searched.cost(draft.counts)
        right = round(share * 10_000)
        found.append(
            Candidate(generation, slot, genome, widths, key, costs, draft.parents, (share,), right, 10_000, True, 0.0)
        )
    return found


def grown(settings: SearchSettings, searched: Space = SPACE) -> list[list[Candidate]]:
    generations: list[list[Candidate]] = []
    for number in range(settings.generations):
        generations.append(judged(searched, number, bred(searched, settings, generations)))
    return generations


def best(generations: list[list[Candidate]]) -> float:
    return max(candidate.fitness[0] for generation in generations for candidate in generation)


def test_finds_the_optimum_of_a_known_landscape_and_beats_chance():
    found, drawn = [], []
    for seed in range(4):
        found.append(best(grown(SearchSettings(population=30, generations=20, seed=seed))))
        drawn.append(best(grown(SearchSettings(population=30, generations=20, seed=seed, sampler="random"))))
    assert found.count(1.0) >= 3
    assert min(found) >= 0.99
    assert max(drawn) < min(found)


@pytest.mark.parametrize("parents", ["tournament", "top"])
def test_all_plans_are_new_and_parents_are_survivors(parents: str):
    settings = SearchSettings(population=12, generations=6, parents=parents)  # type: ignore[arg-type]
    generations = grown(settings)
    keys = [candidate.key for generation in generations for candidate in generation]
    assert len(set(keys)) == len(keys) == 72
    for number, generation in enumerate(generations[1:], start=1):
        alive = {candidate.name for candidate in survivors(generations[:number], settings)}
        assert all(set(candidate.parents) <= alive and candidate.parents for candidate in generation)
    assert all(candidate.parents == () for candidate in generations[0])


def test_best_never_falls():
    generations = grown(SearchSettings(population=10, generations=8))
    settings = SearchSettings(population=10)
    kept = [survivors(generations[: number + 1], settings)[0].fitness[0] for number in range(8)]
    assert kept == sorted(kept)


def test_a_generation_is_a_pure_function_of_those_before():
    settings = SearchSettings(population=8, generations=4, seed=3)
    generations = grown(settings)
    again = bred(SPACE, settings, generations[:3])
    assert [SPACE.widths(draft.counts) for draft in again] == [candidate.widths for candidate in generations[3]]
    other = bred(SPACE, SearchSettings(population=8, generations=4, seed=4), generations[:3])
    assert [SPACE.widths(draft.counts) for draft in other] != [candidate.widths for candidate in generations[3]]


def test_exhausted_space_gives_fewer_plans():
    narrow = space({"macs": 0.7}, round_to=24)
    generations = grown(SearchSettings(population=30, generations=3), narrow)
    assert 0 < len(generations[0]) < 16
    assert generations[2] == []


def test_forecast_chooses_among_children():
    settings = SearchSettings(population=10, generations=2, forecasts=5)
    generations = grown(SearchSettings(population=10, generations=1))

    def forecast(counts: np.ndarray) -> float:
        return -float(SPACE.widths(counts)[0])

    chosen = bred(SPACE, settings, generations, forecast)
    plain = bred(SPACE, settings, generations)
    first = [np.mean([SPACE.widths(draft.counts)[0] for draft in drafts]) for drafts in (chosen, plain)]
    assert first[0] < first[1]
    assert [draft.forecast for draft in chosen] == [forecast(draft.counts) for draft in chosen]


@pytest.mark.parametrize(
    "change",
    [{"population": 0}, {"mutation": 0.0}, {"step": 2.0}, {"seed": -1}, {"sampler": "genetics"}, {"parents": "best"}],
)
def test_settings_are_checked(change: dict[str, object]):
    with pytest.raises(PlanError, match=f"{next(iter(change))}=.* of the search"):
        SearchSettings(**change)  # type: ignore[arg-type]
