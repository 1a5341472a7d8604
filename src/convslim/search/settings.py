"""How a search goes, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from convslim.errors import PlanError, nearest

Sampler = Literal["genetic", "random"]
Parents = Literal["tournament", "top"]

TOP = 10
"""From how many of the best parents are taken, with ``parents="top"``."""


@dataclass(frozen=True)
class SearchSettings:
    """Settings of a search; a generation has ``population`` candidates.

    Attributes:
        population: Candidates of a generation, and how many survive: the best of all so far (elitism).
        generations: How many, the first, random one included.
        sampler: ``"genetic"``, or ``"random"``, which draws every generation as the first one.
        parents: ``"tournament"``: each parent is the best of ``tournament`` survivors drawn at random; ``"top"``:
            one of the ten best.
        tournament: How many meet.
        mutation: Probability that a gene changes.
        step: Standard deviation of the change, as a share of the distance between a factor's bounds.
        give_up: Stop looking at a candidate once it cannot reach the median of the survivors any more.
        forecasts: How many offspring are made for every one that is evaluated, chosen by the forecast of the
            sensitivity table; 0 does without the table.
        table_widths: How many widths of every group the table measures.
        seed: Fixes everything that is drawn.

    >>> SearchSettings(population=0)
    Traceback (most recent call last):
    convslim.errors.PlanError: population=0 of the search must be at least 1.
    """

    population: int = 50
    generations: int = 20
    sampler: Sampler = "genetic"
    parents: Parents = "tournament"
    tournament: int = 3
    mutation: float = 0.1
    step: float = 0.1
    give_up: bool = True
    forecasts: int = 0
    table_widths: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("population", "generations", "tournament", "table_widths"):
            if getattr(self, name) < 1:
                raise PlanError(f"{name}={getattr(self, name)} of the search must be at least 1.")
        for name in ("forecasts", "seed"):
            if getattr(self, name) < 0:
                raise PlanError(f"{name}={getattr(self, name)} of the search must be at least 0.")
        for name in ("mutation", "step"):
            if not 0 < getattr(self, name) <= 1:
                raise PlanError(f"{name}={getattr(self, name)} of the search must be above 0 and at most 1.")
        for name, known in (("sampler", get_args(Sampler)), ("parents", get_args(Parents))):
            value = getattr(self, name)
            if value not in known:
                raise PlanError(
                    f"{name}={value!r} of the search: known are {', '.join(known)}.{nearest(str(value), known)}"
                )

    def to_data(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return asdict(self)
