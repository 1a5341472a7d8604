"""The widths of one network under one budget, and why a budget is missed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from convslim.allocate.costs import LATENCY, Costs, shown
from convslim.allocate.reconstruction import LeastError, error_of_widths
from convslim.allocate.search import CLOSE, Search
from convslim.allocate.widths import Ints, Rounding, allowed_counts, ranked_blocks
from convslim.channels.graph import ChannelGroup
from convslim.errors import BudgetError


@dataclass(frozen=True, eq=False)
class Problem:
    """Which widths are wanted.

    Attributes:
        model: The cost of a count vector.
        groups: The groups that may be cut, by their position in the count vector.
        limits: The largest allowed cost per metric.
        rounding: Which widths are allowed.
    """

    model: Costs
    groups: Mapping[int, ChannelGroup]
    limits: Ints
    rounding: Rounding

    @cached_property
    def allowed(self) -> tuple[Ints, ...]:
        """What each group may keep, ascending, in the order of ``groups``."""
        return tuple(allowed_counts(group, self.rounding) for group in self.groups.values())

    @cached_property
    def least(self) -> Ints:
        """Every group at its smallest width."""
        counts = self.model.sizes.copy()
        for number, allowed in zip(self.groups, self.allowed, strict=True):
            counts[number] = allowed[0]
        return counts

    def ranked(self, scores: Mapping[str, npt.NDArray[np.float64]] | None) -> tuple[Ints, float | None]:
        """Widths by one ranking of all blocks, and the importance at which it was cut.

        Args:
            scores: Scores by group name, or None for the same ratio in every group.

        Raises:
            BudgetError: If even the smallest widths cost too much.
        """
        self._require(self.least, "with every group at its smallest width", self._way_out())
        ranking = None if scores is None else [scores[group.name] for group in self.groups.values()]
        blocks = ranked_blocks(list(self.groups), self.allowed, ranking)
        counts, cut = Search(self.model, blocks, self.limits).run()
        return counts, float(blocks.value[cut - 1]) if cut else None

    def least_error(self, scores: Mapping[str, npt.NDArray[np.float64]]) -> Ints:
        """Widths within the budgets for which the scores of the removed channels sum up to least.

        Raises:
            BudgetError: If even the smallest widths cost too much.
        """
        self._require(self.least, "with every group at its smallest width", self._way_out())
        pairs = zip(self.groups.values(), self.allowed, strict=True)
        errors = [error_of_widths(scores[group.name], allowed) for group, allowed in pairs]
        return LeastError(self.model, list(self.groups), self.allowed, errors, self.limits).solve()

    def by_ratio(self, ratios: Mapping[str, float]) -> Ints:
        """Widths nearest to given pruning ratios, the larger one where two are equally near.

        Raises:
            BudgetError: If they cost too much.
        """
        counts = self.model.sizes.copy()
        for (number, group), allowed in zip(self.groups.items(), self.allowed, strict=True):
            distance = np.abs(allowed - (1 - ratios.get(group.name, 0.0)) * group.num_channels)
            counts[number] = allowed[::-1][distance[::-1].argmin()]
        self._require(counts, "with the given ratios", "Raise the ratios, or add groups to them.")
        return counts

    def widened(self, counts: Ints) -> Ints:
        """Wider groups where that is faster and the other budgets hold: some widths take longer than wider ones.

        One group after the other takes the fastest of its wider widths, until none gets faster.
        """
        counts = counts.copy()
        places = [place for place, metric in enumerate(self.model.metrics) if metric != LATENCY]
        before: Ints | None = None
        while before is None or (counts != before).any():
            before = counts.copy()
            for group, allowed in zip(self.groups, self.allowed, strict=True):
                wider = allowed[allowed >= counts[group]]
                tried = np.repeat(counts[None], len(wider), axis=0)
                tried[:, group] = wider
                fits = (self.model.evaluate(tried)[:, places] <= self.limits[places]).all(-1)
                times = np.where(fits, self.model.expected_ms(tried), np.inf)
                if times.min() < times[0]:
                    counts[group] = wider[times.argmin()]
        return counts

    def _require(self, counts: Ints, condition: str, way_out: str) -> None:
        cost, original = self.model.evaluate(counts), self.model.evaluate(self.model.sizes)
        for place in np.flatnonzero(cost > self.limits).tolist():
            raise BudgetError(
                f"The budget {self._named(place)} cannot be reached: {condition} "
                f"{self._shown(place, cost)} remain, {cost[place] / original[place]:.1%} of the original "
                f"{self._shown(place, original)} and {cost[place] / self.limits[place]:.2f} times the budget. {way_out}"
            )

    def _way_out(self) -> str:
        rounding, total = self.rounding, len(self.model.names)
        fixed = sum(len(allowed) == 1 for allowed in self.allowed)
        return (
            f"{len(self.groups)} of {total} groups may be cut, the others are pinned, kept or without scores"
            f"{f', and {fixed} of them are too narrow for round_to={rounding.round_to}' if fixed else ''}. "
            f"Raise the budget, lower round_to={rounding.round_to}, min_channels={rounding.min_channels} or "
            f"min_ratio={rounding.min_ratio}, or keep fewer groups; graph.explain(name) says what pins one."
        )

    def notes(self, counts: Ints) -> tuple[str, ...]:
        """One sentence if no budget is hit within 1 %."""
        cost = self.model.evaluate(counts)
        use = cost / self.limits
        place = int(use.argmax())
        if use[place] >= CLOSE:
            return ()
        if (counts == self.model.sizes).all():
            return (
                f"Nothing had to go: the network has {self.model.metrics[place]}={self._shown(place, cost)}, "
                f"and the budget is {self._shown(place, self.limits)}.",
            )
        reason = (
            f"Widths go in steps of round_to={self.rounding.round_to}; a smaller one comes closer."
            if self.rounding.round_to > 1
            else "The groups that may be cut are too few or too coarse."
        )
        return (
            f"The budget {self._named(place)} is used to {use[place]:.1%} only, "
            f"{self._shown(place, cost)}: no allowed widths were found closer below it. {reason}",
        )

    def _shown(self, place: int, values: Ints) -> str:
        """One of several costs in words."""
        return shown(self.model.metrics[place], int(values[place]))

    def _named(self, place: int) -> str:
        return f"{self.model.metrics[place]}={self._shown(place, self.limits)}"


def top(scores: npt.NDArray[np.float64], count: int) -> tuple[int, ...]:
    """The channels with the highest scores, ascending; of equal scores the lower index.

    >>> top(np.array([0.5, 2.0, 0.5, 1.0]), 3)
    (0, 1, 3)
    """
    return tuple(sorted(np.argsort(-scores, kind="stable")[:count].tolist()))
