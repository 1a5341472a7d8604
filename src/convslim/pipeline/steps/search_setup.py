"""A search out of a step's configuration; the run and the workers beside it make the same one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from torch import nn

from convslim.allocate import Timing
from convslim.channels.graph import ChannelGraph
from convslim.channels.tape import named_tensors
from convslim.channels.trace import trace
from convslim.criteria import Scores, score
from convslim.criteria.activated import activated
from convslim.errors import ArtifactError
from convslim.pipeline.environment import expand
from convslim.pipeline.state import Context, State
from convslim.pipeline.steps.search import BEST, SearchStep
from convslim.pipeline.steps.search_images import Judging, judging_images
from convslim.pipeline.steps.search_latency import shared_times
from convslim.pipeline.timer import Timer
from convslim.search.begin import begin
from convslim.search.evaluation_choice import build_evaluator
from convslim.search.ledger import Ledger
from convslim.search.objective import Objective
from convslim.search.run import Search
from convslim.search.space import Space, search_space
from convslim.sparsity import relations_in
from convslim.train.tasks import loss_of

STORAGE = "search.db"
"""File of the storage in the step's folder, where the configuration names no other."""

RUN = "run"
"""Where a study notes the folder of the run and the number of the step, for workers."""


@dataclass(frozen=True, eq=False)
class Made:
    """A search that is ready to work.

    Attributes:
        search: The search.
        facts: For the record.
        timing: The network's latency, where the budget is of it.
    """

    search: Search
    facts: dict[str, Any]
    timing: Timing | None


def images(config: SearchStep, context: Context) -> Judging:
    """What candidates are shown.

    Raises:
        DataError: there are too few images, or no object in them.
    """
    return judging_images(
        context.source,
        num_images=config.num_images,
        num_batches=config.num_batches,
        batch_size=config.batch_size,
        seed=config.seed,
    )


def set_up(config: SearchStep, state: State, context: Context) -> Made:
    """The search of a step, in its storage.

    Raises:
        ArtifactError: the storage cannot be used, or has lost the candidates that there were.
        BudgetError: the budget cannot be reached.
        DataError: there are too few images, or no object in them.
    """
    graph = _traced(config, state, context)
    judging = images(config, context)
    timing = shared_times(_timer(config, context), graph, state, context)
    space = _space(config, graph, _scores(config, graph, state.model, context), timing)
    objective = Objective(config.objective, space.cost(space.whole()), config.weight, config.metrics)
    how: Any = {"precision": config.precision, "seed": config.seed, "refit": config.refit}
    evaluator = build_evaluator(state.model, graph, context.example_input, judging.images, **how)
    facts: dict[str, Any] = {
        "way": graph.way,
        "way_reason": graph.way_reason,
        **_facts(judging),
        "evaluator": type(evaluator).__name__,
        "precision": evaluator.precision,
        "refit": config.refit,
        "evaluator_reason": evaluator.reason,
    }
    extra = {key: facts[key] for key in ("images", "calibration_images", "precision", "refit")}
    where = str(context.work / STORAGE) if config.storage is None else expand(config.storage, "search.storage")
    search = begin(
        space,
        evaluator,
        config.settings(),
        where,
        objective=objective,
        study=config.study,
        extra={**extra, "weights": _digest(state.model)},
    )
    _refuse_lost(search.ledger, context.work / BEST)
    study = search.ledger.study
    _note_run(study, context)
    # As configured: a variable's value may be a password.
    details = {
        **facts,
        "storage": config.storage or where,
        "study": study.study_name,
        "original": dict(objective.original),
    }
    return Made(search, details, timing)


def _facts(judging: Judging) -> dict[str, Any]:
    calibration = sum(len(batch) for batch in judging.images.calibration)
    return {"held_out": judging.held_out, "images": len(judging.images.images), "calibration_images": calibration}


def checked_space(config: SearchStep, state: State, context: Context) -> Space:
    """The space with scores that need no images, to see whether it can be searched at all.

    Raises:
        BudgetError: the budget cannot be reached.
        PlanError: a `keep` pattern matches nothing, or nothing can be cut.
    """
    graph = _traced(config, state, context)
    timing = _timer(config, context)(graph, state.model, context.example_input)
    return _space(config, graph, score(graph, state.model, "l1"), timing)


def _traced(config: SearchStep, state: State, context: Context) -> ChannelGraph:
    """The network's channels; as in `prune`, what was once cut in its class stays in its class."""
    graphs = (state.plan is None or state.plan.way == "graph") and relations_in(state.model) is None
    ways = config.ways if graphs else ("class",)
    return trace(state.model, context.example_input, ways=ways, approximate=config.approximate)


def _scores(config: SearchStep, graph: ChannelGraph, model: nn.Module, context: Context) -> Scores:
    """Scores of the criterion; those that look at images take training images."""
    train = context.source.train
    batches = train.batches(config.batch_size, seed=config.seed, limit=config.num_batches * config.batch_size)
    how: Any = {"options": config.options or None, "seed": config.seed}
    return score(graph, model, config.criterion, batches=batches, loss=loss_of(train), **how)


def _timer(config: SearchStep, context: Context) -> Timer:
    how, quiet = config.timing, context.quiet or not context.primary
    return Timer(config.limits(), how.threads, how.batch, quiet, how.arithmetic)


def _space(config: SearchStep, graph: ChannelGraph, scores: Scores, timing: Timing | None) -> Space:
    return search_space(
        graph,
        scores if config.linear else scores.only(activated(graph)),
        config.limits(),
        form=config.form,
        round_to=config.round_to,
        min_channels=config.min_channels,
        min_ratio=config.min_ratio,
        keep=config.keep,
        latency=timing,
        repair=config.objective != "pareto",
    )


def _digest(model: nn.Module) -> str:
    """What two networks with the same weights have in common."""
    digest = hashlib.sha256()
    for name, tensor in sorted(named_tensors(model).items()):
        digest.update(name.encode() + tensor.detach().cpu().double().numpy().tobytes())
    return digest.hexdigest()[:20]


def _refuse_lost(ledger: Ledger, best: Path) -> None:
    """Do not begin anew unasked where candidates have been evaluated already.

    Raises:
        ArtifactError: there is a best plan, but no candidate in the storage.
    """
    if best.exists() and not ledger.read().finished:
        raise ArtifactError(
            f"The storage of the search, {ledger.where}, has lost its candidates, of which {best} is the best plan so "
            "far. Put a copy of the storage back, or remove that file to search anew."
        )


def _note_run(study: optuna.Study, context: Context) -> None:
    """Tell workers which run this is."""
    if context.primary and RUN not in study.user_attrs:
        number = int(context.work.name.lstrip(".").partition("-")[0])
        study.set_user_attr(RUN, {"folder": str(context.out.resolve()), "step": number})
