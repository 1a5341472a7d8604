"""Step `prune`: score the channels, allocate the budget, remove and verify."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from torch import nn

from convslim.allocate import Allocation, solve
from convslim.channels.graph import ChannelGraph
from convslim.channels.trace import trace
from convslim.criteria import NAMES, score
from convslim.errors import nearest
from convslim.pipeline.state import Context, Outcome, State, StepConfig
from convslim.surgery import PruningPlan, carry_out, fold_


class Budget(StepConfig):
    """What may remain: a fraction of the network before this step (float), or an absolute number (int)."""

    macs: int | float | None = None
    params: int | float | None = None

    @field_validator("macs", "params")
    @classmethod
    def _in_range(cls, value: int | float | None) -> int | float | None:
        if value is None or (isinstance(value, int) and value > 1) or 0 < value <= 1:
            return value
        raise ValueError("a budget is a fraction above 0 and up to 1, or an absolute whole number above 1")

    @model_validator(mode="after")
    def _not_empty(self) -> Budget:
        if self.macs is None and self.params is None:
            raise ValueError("a budget needs macs or params, for example {macs: 0.5}")
        return self

    def limits(self) -> dict[str, int | float]:
        """The budget as `allocate` takes it; 1 is read as the fraction 1.0."""
        given = {"macs": self.macs, "params": self.params}
        return {name: 1.0 if value == 1 else value for name, value in given.items() if value is not None}


class PruneStep(StepConfig):
    """What to cut; `num_batches` and `batch_size` are for criteria that look at training images.

    `fold` adds what removed channels with a BatchNorm scale of exactly zero sent on to their consumers' bias. `ways`
    says what may be cut: the model's `class`, or a `graph` of it where numbers in its code hold channels back.
    `approximate: false` leaves the channels whole that others are normalized with (LayerNorm, means over channels).
    """

    criterion: str = "bn_scale"
    budget: Budget
    allocation: Literal["global", "uniform", "reconstruction", "per-group"] = "global"
    ratios: dict[str, float] = Field(default_factory=dict)
    round_to: int = Field(default=8, ge=1)
    min_channels: int = Field(default=1, ge=1)
    min_ratio: float = Field(default=0.1, ge=0, le=1)
    keep: tuple[str, ...] = ()
    fold: bool = True
    ways: tuple[Literal["class", "graph"], ...] = Field(default=("class", "graph"), min_length=1)
    approximate: bool = True
    num_batches: int = Field(default=8, ge=1)
    batch_size: int = Field(default=64, ge=1)
    seed: int = Field(default=0, ge=0)

    @field_validator("criterion")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in NAMES:
            raise ValueError(f"there is no criterion {name!r}; known are {', '.join(NAMES)}.{nearest(name, NAMES)}")
        return name


def run_prune(config: PruneStep, state: State, context: Context) -> Outcome:
    """Remove channels; the smaller network is proven equal to the masked one before it is handed on."""
    graph = traced(config, state, context)
    solution = decide(config, graph, state.model, context)
    removal = carry_out(state.model, solution.plan, context.example_input, graph=graph)
    details = {
        "way": graph.way,
        "way_reason": graph.way_reason,
        "certificate": asdict(removal.certificate),
        "folded": _fold_(removal.model, config, solution.plan, graph, state, context),
        "macs_before": solution.original_macs,
        "params_before": solution.original_params,
        "threshold": solution.threshold,
        "channels": {name: [len(kept), solution.plan.channels[name]] for name, kept in solution.plan.kept.items()},
        "notes": list(solution.notes),
        "approximate": {
            group.name: [str(pin) for pin in group.approximations] for group in graph.prunable if not group.exact
        },
        "pinned": {group.name: [str(pin) for pin in group.pins] for group in graph.groups if group.pins},
    }
    return Outcome(model=removal.model, plan=solution.plan, details=details)


def traced(config: PruneStep, state: State, context: Context) -> ChannelGraph:
    """The network's channels. What was once cut in its class stays in its class: one plan says how to get there."""
    ways = config.ways if state.plan is None or state.plan.way == "graph" else ("class",)
    return trace(state.model, context.example_input, ways=ways, approximate=config.approximate)


def _fold_(
    small: nn.Module, config: PruneStep, plan: PruningPlan, graph: ChannelGraph, state: State, context: Context
) -> dict[str, Any]:
    """Give constants of removed channels to their consumers; what was folded, and what was left and why."""
    if not config.fold:
        return {}
    folding = fold_(small, state.model, plan, context.example_input, graph=graph)
    return {"layers": [asdict(layer) for layer in folding.layers], "left": [list(pair) for pair in folding.left]}


def decide(config: PruneStep, graph: ChannelGraph, model: nn.Module, context: Context) -> Allocation:
    """Score every channel and solve for the budget.

    Raises:
        BudgetError: the budget cannot be reached.
        PlanError: a `keep` pattern matches nothing.
    """
    split = context.source.holdout or context.source.train
    images = config.num_batches * config.batch_size
    batches = split.batches(config.batch_size, seed=config.seed, limit=images)
    scores = score(graph, model, config.criterion, batches=batches, seed=config.seed)
    return solve(
        graph,
        scores,
        config.budget.limits(),
        how=config.allocation,
        ratios=config.ratios or None,
        round_to=config.round_to,
        min_channels=config.min_channels,
        min_ratio=config.min_ratio,
        keep=config.keep,
    )
