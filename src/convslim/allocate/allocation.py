"""The public face: `allocate` for the plan, `solve` for the plan and the numbers behind it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np

from convslim.allocate.budget import NO_LIMIT, asks_for_latency, limits
from convslim.allocate.costs import LATENCY, NS_PER_MS, Costs, Counts
from convslim.allocate.names import kept_whole, ratios_by_group
from convslim.allocate.problem import Problem, top
from convslim.allocate.promise import Promise, Proposal, Timing, kept_promise, promise_notes
from convslim.allocate.widths import Rounding
from convslim.channels.graph import ChannelGraph, ChannelGroup
from convslim.criteria.scores import Scores
from convslim.errors import BudgetError, PlanError, nearest
from convslim.measure.cost import METRICS, CostModel
from convslim.measure.latency_model import LatencyModel
from convslim.surgery.plan import PruningPlan, make_plan

How = Literal["global", "uniform", "reconstruction", "per-group"]
_HOWS = get_args(How)


class BudgetWarning(UserWarning):
    """A plan stays more than 1 % below its budget; the text says why."""


@dataclass(frozen=True, eq=False)
class Allocation:
    """A plan, and how it meets its budget.

    Attributes:
        plan: What stays.
        macs, params: Cost of the network that the plan leaves.
        original_macs, original_params: Cost of the network before.
        limits: The budget as absolute numbers by metric.
        threshold: The importance up to which channels went: a score for ``"global"``, the fraction of every
            group's channels for ``"uniform"``. None for the other ways, or if nothing had to go.
        notes: What the user should know: a budget that is not hit within 1 %, groups that no score covers, a latency
            that is not what was promised.
        latency: The latency that was asked for, expected and measured; None without such a budget.
    """

    plan: PruningPlan
    macs: int
    params: int
    original_macs: int
    original_params: int
    limits: Mapping[str, int]
    threshold: float | None
    notes: tuple[str, ...]
    latency: Promise | None = None


def allocate(
    graph: ChannelGraph,
    scores: Scores,
    budget: Mapping[str, float],
    *,
    how: How = "global",
    ratios: Mapping[str, float] | None = None,
    round_to: int = 8,
    min_channels: int = 1,
    min_ratio: float = 0.1,
    keep: Iterable[str] = (),
    latency: Timing | None = None,
) -> PruningPlan:
    """Decide which channels stay, so that the network meets a budget.

    Args:
        graph: The model's channel graph.
        scores: Importance of every channel.
        budget: ``"macs"`` and ``"params"``, one or both: a float in (0, 1] is the fraction of the original
            that may remain, an int above 1 an absolute number. The budget that binds is hit within 1 % from
            below. ``"latency"``, a fraction, and ``"ms"``, milliseconds, need ``latency``.
        how: How the cut is shared between groups: ``"global"``, ``"uniform"``, ``"reconstruction"`` or
            ``"per-group"``.
        ratios: For ``"per-group"``: pruning ratio, the fraction of channels that goes, by pattern on the
            names of groups and of the layers that make them. The last match counts; groups without a match
            stay whole.
        round_to: Widths of pruned layers are multiples of this; 1 allows every width.
        min_channels: The fewest channels that any group keeps.
        min_ratio: The smallest fraction of its channels that any group keeps.
        keep: Patterns on names of groups and layers; a layer that matches keeps all channels it makes **and
            reads**.
        latency: The network's measured times, :func:`convslim.timing`. The pruned network is measured too, and widths
            are corrected until it is within 5 % of a latency budget, at most twice.

    Returns:
        The plan. The numbers behind it are in :func:`solve`.

    Raises:
        BudgetError: If the budget is malformed or cannot be reached.
        PlanError: If a pattern matches nothing, the scores are not this graph's, or an option is wrong.

    Warns:
        BudgetWarning: If no widths were found within 1 % below the budget.

    >>> import torch
    >>> from convslim.channels.trace import trace
    >>> from convslim.criteria import score
    >>> _ = torch.manual_seed(0)
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 3), torch.nn.ReLU(), torch.nn.Conv2d(64, 9, 1))
    >>> graph = trace(net, torch.zeros(1, 3, 8, 8))
    >>> plan = allocate(graph, score(graph, net, "l1"), {"macs": 0.5})
    >>> len(plan.kept["0"])
    32
    """
    solution = solve(
        graph,
        scores,
        budget,
        how=how,
        ratios=ratios,
        round_to=round_to,
        min_channels=min_channels,
        min_ratio=min_ratio,
        keep=keep,
        latency=latency,
    )
    for note in solution.notes:
        warnings.warn(note, BudgetWarning, stacklevel=2)
    return solution.plan


def solve(
    graph: ChannelGraph,
    scores: Scores,
    budget: Mapping[str, float],
    *,
    how: How = "global",
    ratios: Mapping[str, float] | None = None,
    round_to: int = 8,
    min_channels: int = 1,
    min_ratio: float = 0.1,
    keep: Iterable[str] = (),
    latency: Timing | None = None,
) -> Allocation:
    """Like :func:`allocate`, with the cost that is reached; what it warns of is in ``notes`` instead.

    Raises:
        BudgetError: If the budget is malformed or cannot be reached.
        PlanError: If a pattern matches nothing, the scores are not this graph's, or an option is wrong.
    """
    _check(graph, scores, budget, how, ratios)
    rounding = Rounding(round_to, min_channels, min_ratio)
    task = _Task(graph, scores, budget, how, ratios_by_group(graph, ratios or {}), rounding, kept_whole(graph, keep))
    if latency is None or not asks_for_latency(budget):
        return task.solved(Costs(CostModel(graph)), None).allocation
    timing, costs = latency, CostModel(graph)
    solutions: list[tuple[Proposal, Allocation]] = []

    def propose(model: LatencyModel) -> Proposal:
        found, counted = task.solved(Costs(costs, model), timing.original_ms)
        assert found.latency is not None, "latency was asked for"
        proposal = Proposal(found.plan, found.latency.predicted_ms, counted, found.latency.asked_ms)
        solutions.append((proposal, found))
        return proposal

    proposal, promise = kept_promise(propose, timing, budget)
    found = next(solution for proposed, solution in solutions if proposed is proposal)
    notes = (*found.notes, *promise_notes(promise, timing.model, round_to))
    return replace(found, latency=promise, notes=notes)


class _Solved(NamedTuple):
    """An allocation, and the milliseconds that the search counted for it, 0 without a budget of latency."""

    allocation: Allocation
    counted_ms: float


@dataclass(frozen=True, eq=False)
class _Task:
    """What is to be solved, whatever a latency is expected to be."""

    graph: ChannelGraph
    scores: Scores
    budget: Mapping[str, float]
    how: str
    ratios: Mapping[str, float]
    rounding: Rounding
    whole: set[str]

    def solved(self, costs: Costs, original_ms: float | None) -> _Solved:
        """The allocation with these costs."""
        values = self.scores.values
        groups = {
            number: group
            for number, group in enumerate(self.graph.groups)
            if group.prunable and group.name in values and group.name not in self.whole
        }
        problem = Problem(costs, groups, limits(self.budget, costs, original_ms), self.rounding)
        threshold: float | None = None
        if self.how == "per-group":
            counts = problem.by_ratio(self.ratios)
        elif self.how == "reconstruction":
            counts = problem.least_error(values)
        else:
            counts, threshold = problem.ranked(values if self.how == "global" else None)
        found = problem.widened(counts) if original_ms is not None and self.how != "per-group" else counts
        return self._allocation(problem, found, counts, threshold, original_ms)

    def _allocation(
        self, problem: Problem, counts: Counts, solved: Counts, threshold: float | None, original_ms: float | None
    ) -> _Solved:
        """The plan for these counts, and what stands behind it; ``solved`` is what met the limits before widening."""
        values, costs, groups = self.scores.values, problem.model, problem.groups
        kept = {group.name: top(values[group.name], int(counts[number])) for number, group in groups.items()}
        cost = dict(zip(costs.metrics, costs.evaluate(counts).tolist(), strict=True))
        original = dict(zip(costs.metrics, costs.evaluate(costs.sizes).tolist(), strict=True))
        bounds = dict(zip(costs.metrics, problem.limits.tolist(), strict=True))
        allocation = Allocation(
            plan=make_plan(self.graph, kept),
            macs=cost["macs"],
            params=cost["params"],
            original_macs=original["macs"],
            original_params=original["params"],
            limits={metric: bounds[metric] for metric in METRICS if metric in self.budget},
            threshold=threshold,
            notes=problem.notes(solved) if self.how != "per-group" else (),
            latency=_expected(costs, counts, bounds, original_ms),
        )
        counted = costs.evaluate(solved)[-1] / NS_PER_MS if allocation.latency is not None else 0.0
        return _Solved(allocation, float(counted))


def _expected(costs: Costs, counts: Counts, bounds: Mapping[str, int], original_ms: float | None) -> Promise | None:
    """The promise before anything is measured."""
    if original_ms is None or bounds.get(LATENCY, NO_LIMIT) == NO_LIMIT:
        return None
    predicted = float(costs.expected_ms(counts))
    return Promise(bounds[LATENCY] / NS_PER_MS, original_ms, predicted, predicted)


def _check(
    graph: ChannelGraph,
    scores: Scores,
    budget: Mapping[str, float],
    how: str,
    ratios: Mapping[str, float] | None,
) -> None:
    if how not in _HOWS:
        raise PlanError(f"There is no way {how!r} to share a cut; known are {', '.join(_HOWS)}.{nearest(how, _HOWS)}")
    if (ratios is None) == (how == "per-group"):
        given = "needs `ratios`" if ratios is None else "takes no `ratios`"
        raise PlanError(f"how={how!r} {given}; pruning ratios by name pattern belong to how='per-group'.")
    if not budget and how != "per-group":
        raise BudgetError(f"how={how!r} needs a budget, for example {{'macs': 0.5}}; none was given.")
    if scores.structure != graph.structure:
        raise PlanError(
            f"The scores ({scores.criterion}) were made for another graph: its structure is "
            f"{scores.structure[:12]}, this graph has {graph.structure[:12]}. Score this model's graph."
        )
    for group in graph.prunable:
        _check_group(group, scores)


def _check_group(group: ChannelGroup, scores: Scores) -> None:
    values = scores.values.get(group.name)
    if values is None:
        if group.name not in scores.unscored:
            raise PlanError(f"The scores ({scores.criterion}) lack group {group.name!r}; score the graph again.")
    elif values.shape != (group.num_channels,) or not np.isfinite(values).all():
        raise PlanError(
            f"The scores ({scores.criterion}) of group {group.name!r} must be {group.num_channels} finite "
            f"numbers; found the shape {values.shape}, {np.count_nonzero(~np.isfinite(values))} of them not "
            "finite."
        )
