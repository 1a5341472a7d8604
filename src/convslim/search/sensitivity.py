"""A forecast of fitness from a table: how much accuracy is lost where one group alone is cut.

    accuracy(widths) ≈ a₀ − Σ_l (a₀ − a_l(width_l))

a₀ is the accuracy of the uncut network, a_l(k) that of the network of which only group l is cut, to k channels; between
the measured widths it is interpolated. Losses of several groups need not add up, so how well forecasts rank is measured
in every generation.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from convslim.allocate.widths import Ints
from convslim.search.candidate import Candidate
from convslim.search.genetic import Draft
from convslim.search.objective import Objective
from convslim.search.space import Space


def table_drafts(space: Space, num_widths: int) -> list[Draft]:
    """What a table measures: the uncut network, then every group alone at some of its widths.

    Args:
        space: What can be cut.
        num_widths: Widths per group, at equal distances among the allowed ones, the smallest one included.
    """
    drafts = [Draft(None, space.whole())]
    for gene in range(len(space.genes)):
        drafts += [Draft(None, space.narrowed(gene, count)) for count in _measured(space.allowed(gene), num_widths)]
    return drafts


def _measured(allowed: Ints, num_widths: int) -> list[int]:
    """Widths to measure, of those below the whole group."""
    narrow = allowed[:-1]
    places = np.unique(np.linspace(0, len(narrow), num_widths, endpoint=False).astype(np.intp))
    return narrow[places].tolist()


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """A finished table.

    Attributes:
        space: What can be cut.
        accuracy: Of the uncut network.
        widths: Measured widths of every gene, ascending, the whole group last.
        losses: What is lost there, 0 at the whole group.
    """

    space: Space
    accuracy: float
    widths: tuple[Ints, ...]
    losses: tuple[npt.NDArray[np.float64], ...]

    def forecast(self, counts: Ints) -> float:
        """The accuracy to be expected of kept counts."""
        widths = self.space.widths(counts)
        curves = zip(widths, self.widths, self.losses, strict=True)
        return self.accuracy - sum(float(np.interp(width, known, lost)) for width, known, lost in curves)

    def fitness(self, counts: Ints, objective: Objective) -> float:
        """The first number of an objective to be expected."""
        return objective.values(self.forecast(counts), self.space.cost(counts))[0]

    def to_data(self) -> dict[str, Any]:
        """The table as JSON values."""
        groups = zip(self.space.genes, self.widths, self.losses, strict=True)
        table = {name: {"widths": known.tolist(), "losses": lost.tolist()} for name, known, lost in groups}
        return {"accuracy": self.accuracy, "groups": table}


def sensitivity(space: Space, measured: Sequence[Candidate]) -> Sensitivity:
    """The table of the finished candidates of :func:`table_drafts`."""
    whole = measured[0]
    widths, losses = [], []
    for gene, full in enumerate(whole.widths):
        rows = {row.widths[gene]: row.measured for row in measured if row.widths[gene] != full}
        known = np.array([*sorted(rows), full], np.int64)
        widths.append(known)
        losses.append(np.array([whole.measured - rows.get(int(width), whole.measured) for width in known]))
    return Sensitivity(space, whole.measured, tuple(widths), tuple(losses))


def rank_correlation(candidates: Sequence[Candidate]) -> dict[str, float | None]:
    """Kendall's τ and Spearman's ρ of forecast and fitness; None where there is nothing to rank."""
    pairs = [(each.forecast, each.fitness[0]) for each in candidates if each.forecast is not None and each.complete]
    forecasts, found = np.array(pairs, np.float64).reshape(-1, 2).T
    if len(pairs) < 2 or not np.ptp(forecasts) or not np.ptp(found):
        return {"kendall": None, "spearman": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about exact p-values, which nobody asks for
        tau, rho = stats.kendalltau(forecasts, found), stats.spearmanr(forecasts, found)
    return {"kendall": round(float(tau.statistic), 4), "spearman": round(float(rho.statistic), 4)}
