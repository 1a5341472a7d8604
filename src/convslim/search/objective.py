"""What a search maximizes: accuracy within a budget, accuracy against cost, or the front of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from convslim.errors import PlanError, nearest

Kind = Literal["accuracy", "adjustable", "pareto"]


@dataclass(frozen=True)
class Objective:
    """Numbers to be maximized, of an accuracy and of costs.

    - ``"accuracy"``: the accuracy; the size is held by a budget.
    - ``"adjustable"``: accuracy + weight · (1 − cost / cost₀), where cost₀ is that of the uncut network.
    - ``"pareto"``: accuracy, and −cost / cost₀ of every metric in ``metrics``: no candidate is better than another one
      unless it is so in all of them.

    Attributes:
        kind: Which of them.
        original: Costs of the uncut network, by metric.
        weight: What a network without any cost would be worth in accuracy, for ``"adjustable"``.
        metrics: The costs that count; the first one for ``"adjustable"``.

    >>> round(Objective("adjustable", {"macs": 200}, weight=0.1).values(0.9, {"macs": 50})[0], 3)
    0.975
    """

    kind: Kind
    original: Mapping[str, int]
    weight: float = 0.0
    metrics: tuple[str, ...] = ("macs",)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            known = get_args(Kind)
            raise PlanError(
                f"There is no objective {self.kind!r}; known are {', '.join(known)}.{nearest(self.kind, known)}"
            )
        for metric in self.metrics:
            if metric not in self.original:
                raise PlanError(
                    f"The objective asks for {metric!r}, and known are {', '.join(self.original)}. Latency needs "
                    "measured times: give a budget of latency or ms beside."
                )
        if self.weight < 0:
            raise PlanError(
                f"weight={self.weight} of the objective must be at least 0; it is the worth of what is saved."
            )

    @property
    def single(self) -> bool:
        """True if there is one number."""
        return self.kind != "pareto"

    @property
    def num_values(self) -> int:
        """How many numbers there are."""
        return 1 if self.single else 1 + len(self.metrics)

    def values(self, accuracy: float, costs: Mapping[str, int]) -> tuple[float, ...]:
        """The numbers to be maximized, of a candidate."""
        if self.kind == "accuracy":
            return (accuracy,)
        if self.kind == "adjustable":
            return (accuracy + self._saved(costs),)
        return (accuracy, *(-costs[metric] / self.original[metric] for metric in self.metrics))

    def accuracy_for(self, fitness: float, costs: Mapping[str, int]) -> float:
        """The accuracy that a candidate of these costs needs for a fitness, where there is one number."""
        return fitness - self._saved(costs) if self.kind == "adjustable" else fitness

    def _saved(self, costs: Mapping[str, int]) -> float:
        metric = self.metrics[0]
        return self.weight * (1 - costs[metric] / self.original[metric])
