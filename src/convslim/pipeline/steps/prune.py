"""Step `prune`: score the channels, allocate the budget, remove and verify."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from torch import nn

from convslim.allocate import Allocation, Timing, solve
from convslim.allocate.budget import asks_for_latency
from convslim.channels.graph import ChannelGraph
from convslim.channels.trace import trace
from convslim.criteria import NAMES, Scores, named, score
from convslim.criteria.activated import activated
from convslim.data.source import SplitBatches
from convslim.errors import PlanError, nearest
from convslim.measure.cost import cost
from convslim.measure.distribution import kept_and_removed
from convslim.pipeline.state import Context, Outcome, State, StepConfig
from convslim.pipeline.steps.budget import TimedBudget, TimingConfig
from convslim.pipeline.steps.gfr import GFR, Subject, gfr_options, plan_without_relations, related, without_relations
from convslim.pipeline.steps.schedule import Schedule
from convslim.pipeline.timer import Timer
from convslim.sparsity import relations_in
from convslim.surgery import PruningPlan, carry_out, fold_
from convslim.surgery.layerwise import LayerCut, LayerwiseRemoval, carry_out_layerwise
from convslim.surgery.remove import Removal
from convslim.train.progress import progress
from convslim.train.tasks import loss_of


class PruneStep(StepConfig):
    """What to cut; `num_batches` and `batch_size` are for criteria that look at training images, `options` for those
    that have some. With a `schedule` the step stands for several rounds. `timing` says how a latency is measured.

    `fold` adds what removed channels with a BatchNorm scale of exactly zero sent on to their consumers' bias. `ways`
    says what may be cut: the model's `class`, or a `graph` of it where numbers in its code hold channels back.
    `approximate: false` leaves the channels whole that others are normalized with (LayerNorm, means over channels);
    `linear: false` those that enter no activation behind their normalization (projections, residual trunks). `order`
    says whether the cut is carried out at once, or layer by layer with every network on the way proven.
    """

    criterion: str = "bn_scale"
    options: dict[str, Any] = Field(default_factory=dict)
    budget: TimedBudget
    timing: TimingConfig = TimingConfig()
    schedule: Schedule | None = None
    allocation: Literal["global", "uniform", "reconstruction", "per-group"] = "global"
    ratios: dict[str, float] = Field(default_factory=dict)
    round_to: int = Field(default=8, ge=1)
    min_channels: int = Field(default=1, ge=1)
    min_ratio: float = Field(default=0.1, ge=0, le=1)
    keep: tuple[str, ...] = ()
    fold: bool = True
    ways: tuple[Literal["class", "graph"], ...] = Field(default=("class", "graph"), min_length=1)
    approximate: bool = True
    linear: bool = True
    order: Literal["at-once", "shallow-to-deep"] = "at-once"
    num_batches: int = Field(default=8, ge=1)
    batch_size: int = Field(default=64, ge=1)
    seed: int = Field(default=0, ge=0)

    @field_validator("criterion")
    @classmethod
    def _known(cls, name: str) -> str:
        known = (*NAMES, GFR)
        if name not in known:
            raise ValueError(f"there is no criterion {name!r}; known are {', '.join(known)}.{nearest(name, known)}")
        return name

    @field_validator("options")
    @classmethod
    def _fitting(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        criterion = info.data.get("criterion")  # absent if it is wrong itself
        try:
            if criterion == GFR:
                gfr_options(options)
            elif options and criterion is not None:
                named(criterion, options)
        except PlanError as error:
            raise ValueError(str(error)) from error
        return options

    @model_validator(mode="after")
    def _rounds_of_size(self) -> PruneStep:
        if self.schedule is not None and asks_for_latency(self.budget.limits()):
            raise ValueError("the rounds of a schedule are of macs or params; for latency write several prune steps")
        return self

    @property
    def last(self) -> bool:
        """False if more rounds of the schedule follow."""
        return self.schedule is None or self.schedule.round in (None, self.schedule.cuts)


def run_prune(config: PruneStep, state: State, context: Context) -> Outcome:
    """Remove channels; the smaller network is proven equal to the masked one before it is handed on."""
    subject = _subject(config, state, context)
    graph = traced(config, subject.model, state, context)
    scores = _scores(config, subject, graph, context)
    start = _start(config, subject.model, context)
    limits = _limits(config, start)
    timing = _timer(config, limits, context)(graph, subject.model, context.example_input)
    solution = decide(config, graph, scores, limits, timing)
    removal, cuts = _removed(config, subject.model, solution.plan, graph, context)
    details = {
        "way": graph.way,
        "way_reason": graph.way_reason,
        "certificate": asdict(removal.certificate),
        "cuts": [asdict(cut) for cut in cuts],
        "scored": sum(len(values) for values in scores.values.values()),
        "folded": _fold_(removal.model, config, solution.plan, graph, subject.model, context),
        "macs_before": solution.original_macs,
        "params_before": solution.original_params,
        "schedule_start": start,
        "threshold": solution.threshold,
        "scores": kept_and_removed(scores.values, solution.plan.kept),
        "latency": None if solution.latency is None else solution.latency.to_data(),
        "channels": {name: [len(kept), solution.plan.channels[name]] for name, kept in solution.plan.kept.items()},
        "notes": list(solution.notes),
        "approximate": {
            group.name: [str(pin) for pin in group.approximations] for group in graph.prunable if not group.exact
        },
        "pinned": {group.name: [str(pin) for pin in group.pins] for group in graph.groups if group.pins},
        **subject.details,
    }
    plan = solution.plan
    if relations_in(subject.model) is not None:
        plan = plan_without_relations(subject.model, plan, context.example_input, graph)
    uncut = None if subject.model is state.model else subject.model
    return Outcome(model=removal.model, plan=plan, uncut=uncut, details=details)


def _subject(config: PruneStep, state: State, context: Context) -> Subject:
    """The network to cut and the criterion to rank by."""
    if config.criterion == GFR:
        images = (inputs for inputs, _ in _batches(config, context))
        return related(state.model, gfr_options(config.options), images, last=config.last)
    criterion = named(config.criterion, config.options) if config.options else config.criterion
    return Subject(state.model, state.model, criterion)


def traced(config: PruneStep, model: nn.Module, state: State, context: Context) -> ChannelGraph:
    """The network's channels. What was once cut in its class stays in its class: one plan says how to get there.

    A network with relation modules stays in its class, too: as a graph it would have none that are called.
    """
    graphs = (state.plan is None or state.plan.way == "graph") and relations_in(model) is None
    return trace(
        model, context.example_input, ways=config.ways if graphs else ("class",), approximate=config.approximate
    )


def _fold_(
    small: nn.Module, config: PruneStep, plan: PruningPlan, graph: ChannelGraph, model: nn.Module, context: Context
) -> dict[str, Any]:
    """Give constants of removed channels to their consumers; what was folded, and what was left and why."""
    if not config.fold:
        return {}
    folding = fold_(small, model, plan, context.example_input, graph=graph)
    return {"layers": [asdict(layer) for layer in folding.layers], "left": [list(pair) for pair in folding.left]}


def _batches(config: PruneStep, context: Context) -> SplitBatches:
    split = context.source.holdout or context.source.train
    return split.batches(config.batch_size, seed=config.seed, limit=config.num_batches * config.batch_size)


def _removed(
    config: PruneStep, model: nn.Module, plan: PruningPlan, graph: ChannelGraph, context: Context
) -> tuple[Removal | LayerwiseRemoval, tuple[LayerCut, ...]]:
    """The smaller network, and the cuts of layers if they came one after the other."""
    if config.order == "at-once":
        return carry_out(model, plan, context.example_input, graph=graph), ()
    groups = sum(len(kept) < plan.channels[name] for name, kept in plan.kept.items())
    with progress("cut layers", groups, quiet=context.quiet or not context.primary) as advance:
        done = carry_out_layerwise(
            model, plan, context.example_input, graph=graph, on_cut=lambda cut: advance(f"{cut.group} {cut.kept}")
        )
    return done, done.cuts


def _scores(config: PruneStep, subject: Subject, graph: ChannelGraph, context: Context) -> Scores:
    found = score(
        graph,
        subject.scored,
        subject.criterion,
        batches=_batches(config, context),
        loss=loss_of(context.source.train),
        seed=config.seed,
    )
    return found if config.linear else found.only(activated(graph))


def _limits(config: PruneStep, start: Mapping[str, int]) -> dict[str, int | float]:
    """The budget; in a round of a schedule what this round may leave, of the network before the first round."""
    given = config.budget.limits()
    if config.schedule is None:
        return given
    return {
        name: max(config.schedule.left(start[name], value if isinstance(value, int) else int(value * start[name])), 2)
        for name, value in given.items()
    }


def _start(config: PruneStep, model: nn.Module, context: Context) -> dict[str, int]:
    """Cost of the network before the first round, without the relation modules that go in the last one."""
    if config.schedule is None:
        return {}
    back = 2 * ((config.schedule.round or 1) - 1)  # a training stands between two rounds
    if back:
        return dict(context.finished[-back].details["schedule_start"])
    size = cost(without_relations(model), context.example_input)
    return {"macs": size.macs, "params": size.params}


def _timer(config: PruneStep, limits: dict[str, int | float], context: Context) -> Timer:
    timing = config.timing
    return Timer(limits, timing.threads, timing.batch, context.quiet or not context.primary, timing.arithmetic)


def decide(
    config: PruneStep, graph: ChannelGraph, scores: Scores, limits: dict[str, int | float], timing: Timing | None
) -> Allocation:
    """Solve for the budget.

    Raises:
        BudgetError: the budget cannot be reached.
        PlanError: a `keep` pattern matches nothing.
    """
    return solve(
        graph,
        scores,
        limits,
        how=config.allocation,
        ratios=config.ratios or None,
        round_to=config.round_to,
        min_channels=config.min_channels,
        min_ratio=config.min_ratio,
        keep=config.keep,
        latency=timing,
    )


def check(config: PruneStep, state: State, context: Context) -> None:
    """See, before any training, that the network can be scored and the budget of the last round be reached.

    Raises:
        BudgetError: the budget cannot be reached.
        PlanError: a `keep` pattern matches nothing.
    """
    stand_in = {"criterion": "bn_scale", "options": {}} if config.criterion == GFR else {}
    whole = config.model_copy(update={**stand_in, "schedule": None})
    subject = _subject(whole, state, context)
    graph = traced(whole, state.model, state, context)
    limits = whole.budget.limits()
    timing = _timer(whole, limits, context)(graph, state.model, context.example_input)
    expected = None if timing is None else replace(timing, measure=None)  # it is measured when it is cut
    decide(whole, graph, _scores(whole, subject, graph, context), limits, expected)
