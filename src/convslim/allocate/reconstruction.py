"""Widths that cost least error: every group has a curve of error over width, and a budget is spent where it saves most.

``min Σ_g E_g(k_g)`` under budgets is solved through its Lagrangian ``Σ_g E_g(k_g) + λ Σ_m cost_m(k) / limit_m``:
for one λ the groups are improved in turn, each over all its widths at once, until none changes (where the cost is a sum
over groups, one turn finds the minimum); bisection finds the smallest λ that meets the budget. What is left of the
budget is filled up by the widths that save most error for their cost.

References:
    Everett, *Generalized Lagrange multiplier method for solving problems of optimum allocation of resources*,
    Operations Research 11, 1963.
    Shoham, Gersho, *Efficient bit allocation for an arbitrary set of quantizers*, IEEE Trans. ASSP 36, 1988.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convslim.allocate.budget import NO_LIMIT
from convslim.allocate.costs import CostFunction
from convslim.allocate.widths import Ints

Floats = npt.NDArray[np.float64]

BISECTIONS = 40
MAX_TURNS = 20


def error_of_widths(scores: Floats, allowed: Ints) -> Floats:
    """Error of every allowed width: the sum of the scores of the channels that go.

    >>> error_of_widths(np.array([3.0, 1.0, 2.0]), np.array([1, 2, 3]))
    array([3., 1., 0.])
    """
    removed = np.concatenate([[0.0], np.cumsum(np.sort(scores))])
    return removed[len(scores) - allowed]


@dataclass(frozen=True, eq=False)
class LeastError:
    """The problem of one network.

    Attributes:
        model: The cost of a count vector.
        groups: Positions of the groups in the count vector.
        allowed: What each may keep, ascending; the last is the whole group.
        errors: Error of each of these widths, never rising.
        limits: The largest allowed cost per metric.
    """

    model: CostFunction
    groups: Sequence[int]
    allowed: Sequence[Ints]
    errors: Sequence[Floats]
    limits: Ints

    def solve(self) -> Ints:
        """Kept channels per group. The smallest widths must meet the budgets.

        With several budgets each is tried alone and all together, and the least error wins.
        """
        bound = np.flatnonzero(self.limits != NO_LIMIT)
        weightings = [np.isin(np.arange(len(self.limits)), each) for each in (bound, *bound)]
        found = [self._filled(self._bisected(weights / self.limits)) for weights in weightings]
        return min(found, key=self.error)

    def error(self, counts: Ints) -> float:
        """Total error of widths that are all allowed."""
        places = (
            np.searchsorted(allowed, counts[group]) for group, allowed in zip(self.groups, self.allowed, strict=True)
        )
        return float(sum(errors[place] for errors, place in zip(self.errors, places, strict=True)))

    def _fits(self, counts: Ints) -> bool:
        return bool((self.model.evaluate(counts) <= self.limits).all())

    def _bisected(self, weights: Floats) -> Ints:
        """The widths of the smallest λ that meets the budgets."""
        if self._fits(self.model.sizes):
            return self.model.sizes.copy()
        best = self._least()
        low, high = -40.0, 40.0  # log₂ λ, in units of the total error
        total = sum(float(errors[0]) for errors in self.errors) or 1.0
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            counts = self._minimum(total * 2.0**middle * weights)
            if self._fits(counts):
                best, high = counts, middle
            else:
                low = middle
        return best

    def _least(self) -> Ints:
        counts = self.model.sizes.copy()
        for group, allowed in zip(self.groups, self.allowed, strict=True):
            counts[group] = allowed[0]
        return counts

    def _minimum(self, prices: Floats) -> Ints:
        """Widths that no change of a single group improves, from whole groups downwards."""
        counts = self.model.sizes.copy()
        for _ in range(MAX_TURNS):
            before = counts.copy()
            for group, allowed, errors in zip(self.groups, self.allowed, self.errors, strict=True):
                tried = np.repeat(counts[None], len(allowed), axis=0)
                tried[:, group] = allowed
                counts[group] = allowed[np.argmin(errors + self.model.evaluate(tried) @ prices)]
            if (counts == before).all():
                break
        return counts

    def _filled(self, counts: Ints) -> Ints:
        """Put channels back, those that save most error for the budget they use, until none fits."""
        counts = counts.copy()
        while True:
            now = self.model.evaluate(counts)
            best, chosen = 0.0, None
            for group, allowed, errors in zip(self.groups, self.allowed, self.errors, strict=True):
                place = int(np.searchsorted(allowed, counts[group]))
                tried = np.repeat(counts[None], len(allowed) - place - 1, axis=0)
                tried[:, group] = allowed[place + 1 :]
                cost = self.model.evaluate(tried)
                use = ((cost - now) / self.limits).max(-1)
                saved = np.where((cost <= self.limits).all(-1), errors[place] - errors[place + 1 :], 0.0)
                worth = saved / np.maximum(use, 1e-12)
                if len(worth) and worth.max() > best:
                    best, chosen = float(worth.max()), tried[worth.argmax()]
            if chosen is None:
                return counts
            counts = chosen
