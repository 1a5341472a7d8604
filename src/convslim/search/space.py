"""Genomes and plans: one evaluation factor per channel group, and the channels that it leaves.

A **genome** is a vector v of factors, one for every group that can be cut. Channels go in the blocks of
:mod:`convslim.allocate`, which keep widths at multiples of ``round_to``, and within a group always the highest scores
stay. With the worth w_b of block b in group l,

    block b stays  ⟺  w_b ≥ s · v_l

- **threshold form**: w_b is the mean score of the block's channels over the mean score of its group. With
  ``round_to=1`` a block is a channel, and the rule is |score_i| ≥ v_l · mean|score|.
- **quantile form**: w_b is the share of its group up to the middle of the block, counted from the channels that go
  first: v_l is the share that is removed.

s = 1 without a budget. With one, s is the smallest number that meets it, found by bisection on the blocks in the
order of w_b / v_l; blocks that fit into what is left are put back. So every genome decodes to a plan that uses the
budget and never exceeds it, and with a budget only the ratios of the factors count.

Source: the evaluation factor follows Z. Wang, F. Li, G. Shi, X. Xie and F. Wang, *Network pruning using sparse learning
and genetic algorithm*, Neurocomputing 404, 2020.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from convslim.allocate.budget import NO_LIMIT, limits
from convslim.allocate.costs import Costs
from convslim.allocate.names import kept_whole
from convslim.allocate.problem import Problem, top
from convslim.allocate.promise import Timing
from convslim.allocate.widths import Blocks, Ints, Rounding, ranked_blocks
from convslim.channels.graph import ChannelGraph, ChannelGroup
from convslim.criteria.scores import Scores
from convslim.errors import PlanError, nearest
from convslim.measure.cost import CostModel
from convslim.measure.latency_model import LatencyModel
from convslim.surgery.plan import PruningPlan, make_plan

Form = Literal["threshold", "quantile"]
Genome = npt.NDArray[np.float64]

BOUNDS: Final[Mapping[str, tuple[float, float]]] = {"threshold": (0.05, 2.0), "quantile": (0.02, 1.0)}
"""The smallest and the largest evaluation factor of each form."""


@dataclass(frozen=True, eq=False)
class Space:
    """What can be searched. Made by :func:`search_space`.

    Attributes:
        graph: The network's channel graph.
        scores: They rank the channels of every group.
        form: What a factor means.
        costs: The costs of a vector of kept counts.
        limits: The largest allowed cost per metric, in the order of ``costs.metrics``.
        rounding: Which widths are allowed.
        genes: Names of the groups that can be cut; position i of a genome belongs to ``genes[i]``.
        repair: True if every genome is made to meet the budget.
    """

    graph: ChannelGraph
    scores: Scores
    form: Form
    costs: Costs
    limits: Ints
    rounding: Rounding
    genes: tuple[str, ...]
    repair: bool
    _problem: Problem = field(repr=False)
    _blocks: Blocks = field(repr=False)
    _gene_of_block: npt.NDArray[np.intp] = field(repr=False)
    _places: npt.NDArray[np.intp] = field(repr=False)

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest factor."""
        return BOUNDS[self.form]

    @property
    def limited(self) -> bool:
        """True if there is a budget."""
        return bool((self.limits < NO_LIMIT).any())

    def within(self, counts: Ints) -> bool:
        """True if these kept counts meet the budget."""
        return bool((self.costs.evaluate(counts) <= self.limits).all())

    def timed(self, latency: LatencyModel) -> Space:
        """The same space where latency is expected otherwise; BudgetError if the budget cannot be reached then."""
        costs = Costs(self.costs.model, latency)
        problem = replace(self._problem, model=costs)
        problem.ranked(None)
        return replace(self, costs=costs, _problem=problem)

    def decode(self, genome: Genome) -> Ints:
        """Kept channels per group of the graph, shape ``(num_groups,)``; a pure function.

        Args:
            genome: Factors above 0, shape ``(num_genes,)``.
        """
        ratio = self._blocks.value / genome[self._gene_of_block]
        if not (self.limited and self.repair):
            return self._blocks.counts(self.costs.sizes, np.flatnonzero(ratio < 1))
        order = np.argsort(ratio, kind="stable")
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            if self.within(self._blocks.counts(self.costs.sizes, order[:middle])):
                high = middle
            else:
                low = middle + 1
        return self._filled(self._blocks.counts(self.costs.sizes, order[:low]), order[:low])

    def _filled(self, counts: Ints, gone: npt.NDArray[np.intp]) -> Ints:
        """Put blocks back that fit, the last that went first."""
        blocks, counts = self._blocks, counts.copy()
        while True:
            back = gone[blocks.low[gone] == counts[blocks.group[gone]]]
            tried = np.repeat(counts[None], len(back), axis=0)
            tried[np.arange(len(back)), blocks.group[back]] = blocks.high[back]
            fitting = np.flatnonzero((self.costs.evaluate(tried) <= self.limits).all(-1))
            if not len(fitting):
                return counts
            counts = tried[fitting[-1]]

    def encode(self, counts: Ints) -> Genome:
        """A genome that decodes to these widths, as far as its bounds reach.

        Each factor lies halfway between the worth of the last block that goes and of the first one that stays. With
        repair all are scaled into the bounds, which changes nothing.
        """
        worth, gene = self._blocks.value, self._gene_of_block
        stays = counts[self._blocks.group] >= self._blocks.high
        first = np.full(len(self.genes), np.inf)
        np.minimum.at(first, gene[stays], worth[stays])
        last = np.zeros(len(self.genes))
        np.maximum.at(last, gene[~stays], worth[~stays])
        genome = np.where(np.isfinite(first), (first + last) / 2, 2 * last)
        low, high = self.bounds
        if self.limited and self.repair:
            genome = genome * min(1.0, high / max(float(genome.max(initial=0.0)), 1e-12))
        return np.clip(genome, low, high)

    def starts(self) -> list[tuple[Genome, Ints]]:
        """Where a search begins, genomes and kept counts: equal factors; and, where there is a budget, within it the
        same ratio in all groups, and one threshold on the scores as they are.
        """
        low, high = self.bounds
        equal = np.full(len(self.genes), (low + high) / 2)
        found = [(equal, self.decode(equal))]
        if self.limited:
            for ranking in (None, self.scores.values):
                counts, _ = self._problem.ranked(ranking)
                found.append((self.encode(counts), counts))
        return found

    def random(self, generator: np.random.Generator) -> Genome:
        """A genome with factors drawn uniformly between the bounds."""
        return generator.uniform(*self.bounds, len(self.genes))

    def allowed(self, gene: int) -> Ints:
        """Channels that the group of a gene may keep, ascending; the last is all of them."""
        numbers = list(self._problem.groups)
        return self._problem.allowed[numbers.index(int(self._places[gene]))]

    def whole(self) -> Ints:
        """The counts of the uncut network."""
        return self.costs.sizes.copy()

    def narrowed(self, gene: int, count: int) -> Ints:
        """The counts where the group of one gene alone is cut."""
        counts = self.whole()
        counts[self._places[gene]] = count
        return counts

    def widths(self, counts: Ints) -> tuple[int, ...]:
        """Kept channels of the groups that can be cut, in the order of ``genes``."""
        return tuple(counts[self._places].tolist())

    def counts(self, widths: Sequence[int]) -> Ints:
        """What :meth:`widths` was made of."""
        counts = self.whole()
        counts[self._places] = widths
        return counts

    def cost(self, counts: Ints) -> dict[str, int]:
        """What the network costs then, by metric; latency in nanoseconds."""
        return dict(zip(self.costs.metrics, self.costs.evaluate(counts).tolist(), strict=True))

    def key(self, counts: Ints) -> str:
        """What two genomes that decode to the same plan have in common."""
        text = f"{self.graph.structure} {self.widths(counts)}"
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def plan(self, counts: Ints) -> PruningPlan:
        """The plan that keeps so many channels of every group, those with the highest scores."""
        kept = {
            name: top(self.scores.values[name], int(counts[place]))
            for name, place in zip(self.genes, self._places, strict=True)
        }
        return make_plan(self.graph, kept)


def search_space(
    graph: ChannelGraph,
    scores: Scores,
    budget: Mapping[str, float] | None = None,
    *,
    form: Form = "threshold",
    round_to: int = 8,
    min_channels: int = 1,
    min_ratio: float = 0.1,
    keep: Iterable[str] = (),
    latency: Timing | None = None,
    repair: bool = True,
) -> Space:
    """The space of plans that evaluation factors span.

    Args:
        graph: The network's channel graph.
        scores: Of any criterion, 0 or above; they rank the channels of every group.
        budget: As for :func:`convslim.allocate`; None leaves the size to the factors.
        form: ``"threshold"`` or ``"quantile"``.
        round_to, min_channels, min_ratio, keep, latency: As for :func:`convslim.allocate`.
        repair: Make every genome meet the budget; otherwise it is told only which candidates do.

    Raises:
        BudgetError: If the budget is malformed or cannot be reached.
        PlanError: If nothing can be cut, a pattern matches nothing, a score is below 0, the scores are another
            graph's, or there is no such form.

    >>> import torch
    >>> from convslim.channels.trace import trace
    >>> from convslim.criteria import score
    >>> _ = torch.manual_seed(0)
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 3), torch.nn.ReLU(), torch.nn.Conv2d(64, 9, 1))
    >>> graph = trace(net, torch.zeros(1, 3, 8, 8))
    >>> space = search_space(graph, score(graph, net, "l1"), {"macs": 0.5})
    >>> space.widths(space.decode(np.array([1.0])))
    (32,)
    """
    if form not in get_args(Form):
        raise PlanError(f"There is no form {form!r}; known are {', '.join(get_args(Form))}.{nearest(form, BOUNDS)}")
    if scores.structure != graph.structure:
        raise PlanError(
            f"The scores ({scores.criterion}) were made for another graph: its structure is {scores.structure[:12]}, "
            f"this graph has {graph.structure[:12]}. Score this model's graph."
        )
    costs = Costs(CostModel(graph), None if latency is None else latency.model)
    bounds = limits(budget or {}, costs, None if latency is None else latency.original_ms)
    groups = _open_groups(graph, scores, kept_whole(graph, keep))
    problem = Problem(costs, groups, bounds, Rounding(round_to, min_channels, min_ratio))
    blocks = _blocks(problem, scores, form)
    places = np.unique(blocks.group).astype(np.intp)
    if not len(places):
        raise PlanError(
            f"None of the {len(graph.groups)} channel groups can be cut: they are pinned, kept, without scores, or too "
            f"narrow for round_to={round_to}, min_channels={min_channels} and min_ratio={min_ratio}. Lower these."
        )
    if budget:
        problem.ranked(None)  # tells whether the budget can be reached
    names = tuple(graph.groups[place].name for place in places)
    gene = np.searchsorted(places, blocks.group)
    return Space(graph, scores, form, costs, bounds, problem.rounding, names, repair, problem, blocks, gene, places)


def _open_groups(graph: ChannelGraph, scores: Scores, whole: set[str]) -> dict[int, ChannelGroup]:
    """The groups that may be cut, by their position in the graph."""
    found = {}
    for number, group in enumerate(graph.groups):
        if not group.prunable or group.name in whole or group.name not in scores.values:
            continue
        if scores.values[group.name].min() < 0:
            raise PlanError(
                f"Group {group.name!r} has scores below 0 by {scores.criterion!r}; a factor times their mean says "
                "nothing then. Take a criterion whose scores are 0 or above."
            )
        found[number] = group
    return found


def _blocks(problem: Problem, scores: Scores, form: Form) -> Blocks:
    """The blocks with what each is worth."""
    ranking = None
    if form == "threshold":
        values = [scores.values[group.name] for group in problem.groups.values()]
        ranking = [each / (each.mean() or 1.0) for each in values]
    return ranked_blocks(list(problem.groups), problem.allowed, ranking)
