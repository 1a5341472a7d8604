"""What a search found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convslim.allocate.widths import Ints
from convslim.search.candidate import Candidate
from convslim.search.genetic import survivors
from convslim.search.ledger import TABLE, Book
from convslim.search.objective import Objective
from convslim.search.ranking import front, ranked
from convslim.search.sensitivity import Sensitivity, rank_correlation
from convslim.search.settings import SearchSettings
from convslim.search.space import Space


@dataclass(frozen=True, eq=False)
class SearchResult:
    """Every candidate, and the best one.

    Attributes:
        best: The highest fitness; of several numbers, the highest accuracy.
        counts: Its kept channels per group of the graph.
        candidates: All of them, generation by generation.
        generations: For each: best, median and mean fitness, evaluations and seconds; with a sensitivity table, how
            well its forecasts rank.
        front: Names of those that no other one dominates, for several numbers; empty for one.
        table: The sensitivity table and its measurements; None without one.
    """

    best: Candidate
    counts: Ints
    candidates: tuple[Candidate, ...]
    generations: tuple[dict[str, Any], ...]
    front: tuple[str, ...]
    table: dict[str, Any] | None

    @property
    def num_evaluated(self) -> int:
        """Candidates that were evaluated, not shared."""
        return sum(candidate.shared_with is None for candidate in self.candidates)

    def to_data(self) -> dict[str, Any]:
        """The result as JSON values, for the record."""
        return {
            "best": self.best.name,
            "evaluated": self.num_evaluated,
            "candidates": [candidate.to_data() for candidate in self.candidates],
            "generations": list(self.generations),
            "front": list(self.front),
            "table": self.table,
        }


def result_of(
    book: Book, space: Space, objective: Objective, settings: SearchSettings, table: Sensitivity | None
) -> SearchResult:
    """The result of a finished search."""
    generations = book.generations()
    candidates = tuple(candidate for generation in generations for candidate in generation)
    best = _best(candidates, space, objective)
    measured = book.generation(TABLE)
    data = None if table is None else {**table.to_data(), "measured": [row.to_data() for row in measured]}
    names = () if objective.single else tuple(candidate.name for candidate in front(candidates))
    reports = tuple(_report(number, generations, settings) for number in range(len(generations)))
    return SearchResult(best, space.counts(best.widths), candidates, reports, names, data)


def _best(candidates: Sequence[Candidate], space: Space, objective: Objective) -> Candidate:
    """The first of the ranking; of several numbers, the highest accuracy within the budget."""
    if objective.single:
        return ranked(candidates)[0]
    within = [each for each in candidates if each.complete and space.within(space.counts(each.widths))]
    return max(within, key=lambda each: (each.fitness, -each.generation, -each.slot))


def _report(number: int, generations: Sequence[Sequence[Candidate]], settings: SearchSettings) -> dict[str, Any]:
    """One generation in numbers."""
    members = generations[number]
    fitness = np.array([candidate.fitness[0] for candidate in members])
    best = survivors(generations[: number + 1], settings)[0]
    forecast = rank_correlation(members) if any(each.forecast is not None for each in members) else {}
    return {
        "generation": number,
        "candidates": len(members),
        "evaluated": sum(candidate.shared_with is None for candidate in members),
        "given_up": sum(not candidate.complete for candidate in members),
        "best": best.name,
        "best_fitness": list(best.fitness),
        "median_fitness": float(np.median(fitness)),
        "mean_fitness": float(fitness.mean()),
        "seconds": round(sum(candidate.seconds for candidate in members), 4),
        **forecast,
    }
