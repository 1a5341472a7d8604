"""From coefficients to a smaller network: fold them in, decide what goes, remove it with a proof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from convslim.allocate import solve
from convslim.allocate.problem import top
from convslim.allocate.widths import Rounding, allowed_counts
from convslim.channels.graph import ChannelGraph
from convslim.criteria.scores import Scores
from convslim.measure.distribution import kept_and_removed
from convslim.sparsity.mask import MaskedNetwork, folded
from convslim.sparsity.mask_places import MaskPlaces
from convslim.surgery import PruningPlan, carry_out, fold_, make_plan
from convslim.train.select_rule import SelectRule


@dataclass(frozen=True, eq=False)
class HardCut:
    """A network without the channels that went, with the coefficients of the others folded in.

    `plan` is None where no channel went. `facts` are JSON values.
    """

    model: nn.Module
    plan: PruningPlan | None
    facts: Mapping[str, Any]


def hard_cut(masked: MaskedNetwork, graph: ChannelGraph, example_input: Tensor, rule: SelectRule) -> HardCut:
    """Remove what is cut.

    With a budget the channels of the smallest coefficients go, zeros first, until widths allowed by the rounding meet
    it. Without one the zeros go; where the rounding wants more channels, some of them stay.

    Raises:
        BudgetError: The budget cannot be reached.
        VerificationError: The smaller network is not the masked one.
    """
    sizes = {name: masked.settled[part].abs().double().cpu().numpy() for name, part in masked.places.slices().items()}
    plain = folded(masked.network, masked.places, masked.settled)
    plan = _budgeted(graph, sizes, rule) if rule.budget else _of_zeros(graph, sizes, rule)
    live = masked.live()
    facts = {
        "live": live,
        "channels": {name: [len(plan.kept[name]), len(sizes[name])] for name in live},
        "coefficients": kept_and_removed(sizes, plan.kept),
    }
    if not plan.removed:
        return HardCut(plain, None, facts)
    removal = carry_out(plain, plan, example_input, graph=graph)
    folding = fold_(removal.model, plain, plan, example_input, graph=graph)
    proven = {
        "certificate": asdict(removal.certificate),
        "folded": {"layers": [asdict(layer) for layer in folding.layers], "left": [list(p) for p in folding.left]},
    }
    return HardCut(removal.model, plan, {**facts, **proven})


def require_reachable(graph: ChannelGraph, places: MaskPlaces, rule: SelectRule) -> None:
    """See that some choice of channels meets the budget, before anything is trained for it.

    Raises:
        BudgetError: None does, or the budget is malformed.
    """
    if rule.budget:
        _budgeted(graph, {name: np.ones(size) for name, size in zip(places.groups, places.sizes, strict=True)}, rule)


def _budgeted(graph: ChannelGraph, sizes: Mapping[str, npt.NDArray[np.float64]], rule: SelectRule) -> PruningPlan:
    unscored = tuple(group.name for group in graph.prunable if group.name not in sizes)
    scores = Scores("coefficients", graph.structure, sizes, unscored)
    assert rule.budget is not None, "asked for a budget only"
    return solve(
        graph,
        scores,
        rule.budget,
        round_to=rule.round_to,
        min_channels=rule.min_channels,
        min_ratio=rule.min_ratio,
        keep=rule.keep,
    ).plan


def _of_zeros(graph: ChannelGraph, sizes: Mapping[str, npt.NDArray[np.float64]], rule: SelectRule) -> PruningPlan:
    rounding = Rounding(rule.round_to, rule.min_channels, rule.min_ratio)
    kept = {}
    for name, size in sizes.items():
        allowed = allowed_counts(graph.group(name), rounding)
        kept[name] = top(size, int(allowed[allowed >= np.count_nonzero(size)][0]))
    return make_plan(graph, kept)
