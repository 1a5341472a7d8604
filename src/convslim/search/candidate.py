"""One candidate of a search, evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convslim.search.evaluation import value_of


@dataclass(frozen=True)
class Candidate:
    """What is known of one candidate.

    Attributes:
        generation, slot: Its place; the measurements of a sensitivity table have generation −1.
        genome: Evaluation factor by group; empty in a sensitivity table.
        widths: Kept channels of the groups that can be cut.
        key: Digest of its plan.
        costs: By metric, latency in nanoseconds.
        parents: Names of its parents.
        fitness: What is maximized, one number or several.
        correct, total: Right ones of the images that were looked at; None where they are neither right nor wrong.
        complete: False if it was given up early; it then never is the best.
        seconds: Time of the evaluation; 0 where it is shared.
        shared_with: Name of the candidate with the same plan whose evaluation this is.
        forecast: Fitness that the sensitivity table forecast.
        value: What the task measures where no right ones are counted, 0…1.
    """

    generation: int
    slot: int
    genome: Mapping[str, float]
    widths: tuple[int, ...]
    key: str
    costs: Mapping[str, int]
    parents: tuple[str, ...]
    fitness: tuple[float, ...]
    correct: int | None
    total: int
    complete: bool
    seconds: float
    shared_with: str | None = None
    forecast: float | None = None
    value: float | None = None

    @property
    def name(self) -> str:
        """Generation and slot, ``"3.17"``."""
        return candidate_name(self.generation, self.slot)

    @property
    def measured(self) -> float:
        """Share of the images looked at that are right, or `value` where they are neither right nor wrong."""
        return value_of(self.correct, self.total, self.value)

    def to_data(self) -> dict[str, Any]:
        """The candidate as JSON values, for the record."""
        return {
            "name": self.name,
            "generation": self.generation,
            "parents": list(self.parents),
            "genome": {gene: round(factor, 6) for gene, factor in self.genome.items()},
            "widths": list(self.widths),
            "costs": dict(self.costs),
            "fitness": list(self.fitness),
            "correct": self.correct,
            "total": self.total,
            **({} if self.value is None else {"value": self.value}),
            "complete": self.complete,
            "seconds": round(self.seconds, 4),
            "shared_with": self.shared_with,
            "forecast": self.forecast,
            "plan": self.key,
        }


def candidate_name(generation: int, slot: int) -> str:
    """How a candidate is called in records.

    >>> candidate_name(3, 17)
    '3.17'
    """
    return f"{generation}.{slot}"
