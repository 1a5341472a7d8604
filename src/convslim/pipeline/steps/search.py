"""Step `search`: a genetic search for the plan whose network is best on held-out training images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator
from torch import nn

from convslim.channels.graph import ChannelGraph
from convslim.criteria import NAMES, named
from convslim.errors import ArtifactError, PlanError, nearest
from convslim.pipeline.state import Context, Outcome, State, StepConfig
from convslim.pipeline.steps.budget import TimedBudget, TimingConfig
from convslim.pipeline.steps.gfr import plan_without_relations
from convslim.search.objective import Kind
from convslim.search.settings import Parents, Sampler, SearchSettings
from convslim.search.space import Form, Space
from convslim.search.standing import Standing, Watch
from convslim.sparsity import relations_in
from convslim.surgery import PruningPlan, carry_out, fold_
from convslim.train.progress import Advance, progress

BEST = "best-plan.json"
"""File of the best plan so far, in the step's folder."""


class SearchStep(StepConfig):
    """What is searched, how, and on which images; see `SearchSettings`, `Objective` and `search_space`.

    Candidates are compared by what step `evaluate` measures: accuracy, or mean average precision of boxes.
    `num_images` held-out training images count, BatchNorm statistics are taken of `num_batches` batches of other ones.
    `storage` is a file or URL that other workers can share; without, a SQLite file in the step's folder.
    """

    criterion: str = "bn_scale"
    options: dict[str, Any] = Field(default_factory=dict)
    budget: TimedBudget | None = None
    timing: TimingConfig = TimingConfig()
    objective: Kind = "accuracy"
    weight: float = Field(default=0.1, ge=0)
    metrics: tuple[Literal["macs", "params", "latency"], ...] = Field(default=("macs",), min_length=1)
    form: Form = "threshold"
    population: int = Field(default=50, ge=1)
    generations: int = Field(default=20, ge=1)
    sampler: Sampler = "genetic"
    parents: Parents = "tournament"
    tournament: int = Field(default=3, ge=1)
    mutation: float = Field(default=0.1, gt=0, le=1)
    step_size: float = Field(default=0.1, gt=0, le=1)
    give_up: bool = True
    forecasts: int = Field(default=0, ge=0)
    table_widths: int = Field(default=3, ge=1)
    num_images: int = Field(default=2000, ge=1)
    num_batches: int = Field(default=8, ge=1)
    batch_size: int = Field(default=128, ge=1)
    precision: Literal["auto", "32", "bf16"] = "auto"
    refit: bool = False
    round_to: int = Field(default=8, ge=1)
    min_channels: int = Field(default=1, ge=1)
    min_ratio: float = Field(default=0.1, ge=0, le=1)
    keep: tuple[str, ...] = ()
    fold: bool = True
    ways: tuple[Literal["class", "graph"], ...] = Field(default=("class", "graph"), min_length=1)
    approximate: bool = True
    linear: bool = True
    storage: str | None = None
    study: str | None = None
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _possible(self) -> SearchStep:
        if self.criterion not in NAMES:
            raise ValueError(
                f"there is no criterion {self.criterion!r} for a search; known are {', '.join(NAMES)}."
                f"{nearest(self.criterion, NAMES)}"
            )
        if self.options:
            try:
                named(self.criterion, self.options)
            except PlanError as error:
                raise ValueError(str(error)) from error
        if self.budget is None and self.objective != "adjustable":
            raise ValueError(f"objective {self.objective} needs a budget, such as {{macs: 0.5}}")
        if self.forecasts and self.objective == "pareto":
            raise ValueError("forecasts are of one number; write objective: accuracy or adjustable, or forecasts: 0")
        return self

    def limits(self) -> dict[str, int | float]:
        """The budget; empty without one."""
        return {} if self.budget is None else self.budget.limits()

    def settings(self) -> SearchSettings:
        """How the search goes."""
        return SearchSettings(
            population=self.population,
            generations=self.generations,
            sampler=self.sampler,
            parents=self.parents,
            tournament=self.tournament,
            mutation=self.mutation,
            step=self.step_size,
            give_up=self.give_up,
            forecasts=self.forecasts,
            table_widths=self.table_widths,
            seed=self.seed,
        )


def run_search(config: SearchStep, state: State, context: Context) -> Outcome:
    """Search, together with the workers that share the storage; then carry the best plan out, as `prune` does."""
    # These import Optuna, which takes a quarter of a second.
    from convslim.pipeline.steps.search_latency import taken
    from convslim.pipeline.steps.search_setup import set_up

    made = set_up(config, state, context)
    space, best = made.search.space, context.work / BEST
    try:
        with watched(space, best, quiet=context.quiet or not context.primary) as watch:
            result = made.search.work(watch)
    except ArtifactError as error:
        kept = f" The best plan so far is kept in {best}." if best.exists() else ""
        raise ArtifactError(f"{error}{kept}") from error
    chosen = taken(made.search, result, made.timing, config.limits())
    plan = space.plan(chosen.counts)
    removal = carry_out(state.model, plan, context.example_input, graph=space.graph)
    details = {
        **made.facts,
        "certificate": asdict(removal.certificate),
        "folded": _fold_(removal.model, config, plan, space.graph, state, context),
        "channels": {name: [len(kept), plan.channels[name]] for name, kept in plan.kept.items()},
        "genes": list(space.genes),
        "search": result.to_data(),
        "latency": None if chosen.promise is None else chosen.promise.to_data(),
        "notes": list(chosen.notes),
        "corrected": list(chosen.corrected),
    }
    if relations_in(state.model) is not None:
        plan = plan_without_relations(state.model, plan, context.example_input, space.graph)
    return Outcome(model=removal.model, plan=plan, details=details)


def _fold_(
    small: nn.Module, config: SearchStep, plan: PruningPlan, graph: ChannelGraph, state: State, context: Context
) -> dict[str, Any]:
    """Give constants of removed channels to their consumers, as in `prune`."""
    if not config.fold:
        return {}
    folding = fold_(small, state.model, plan, context.example_input, graph=graph)
    return {"layers": [asdict(layer) for layer in folding.layers], "left": [list(pair) for pair in folding.left]}


@contextmanager
def watched(space: Space, best: Path | None, *, quiet: bool) -> Iterator[Watch]:
    """Show the best candidate so far beside a bar, and keep its plan in a file, if one is given."""
    steps, kept = 0, ""
    with ExitStack() as stack:
        advance: Advance | None = None

        def watch(standing: Standing) -> None:
            nonlocal advance, steps, kept
            if advance is None:
                advance = stack.enter_context(progress("search", standing.total, quiet=quiet))
            found = standing.best
            if best is not None and found is not None and found.key != kept:
                kept = found.key
                space.plan(space.counts(found.widths)).save(best)
            note = "" if found is None else f"generation {standing.generation}, best {100 * found.measured:.2f} %"
            for _ in range(standing.finished - steps):
                advance(note)
            steps = standing.finished

        yield watch


def check_search(config: SearchStep, state: State, context: Context) -> None:
    """See, before any training, that the budget can be reached and the data is of the right kind.

    Raises:
        BudgetError: the budget cannot be reached.
        DataError: there are too few images, or no object in them.
        PlanError: a `keep` pattern matches nothing, or nothing can be cut.
    """
    from convslim.pipeline.steps.search_setup import checked_space, images

    images(config, context)
    checked_space(config, state, context)
