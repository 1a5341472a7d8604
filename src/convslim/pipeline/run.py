"""Carrying a recipe out: its steps, folded over a state."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convslim import models
from convslim.data import DataSource
from convslim.errors import ConvslimError
from convslim.measure.cost import cost
from convslim.pipeline.class_details import class_fields
from convslim.pipeline.environment import expand
from convslim.pipeline.folder import MODEL, RECORD, RunFolder
from convslim.pipeline.predictions import Predictions, predictions_of, save_predictions
from convslim.pipeline.recipe import Recipe, RecipeStep
from convslim.pipeline.source import open_source
from convslim.pipeline.state import Context, Outcome, State
from convslim.pipeline.steps import STEPS
from convslim.pipeline.steps.evaluate import EvaluateStep, measure
from convslim.pipeline.steps.guided import check_guidance
from convslim.pipeline.steps.order import check_order
from convslim.pipeline.steps.prune import PruneStep, check
from convslim.pipeline.steps.search import SearchStep, check_search
from convslim.report import Machine, RunRecord, StepRecord, versions
from convslim.surgery.artifact import save
from convslim.surgery.weights import load_weights
from convslim.train.devices import connect, kept_random_state, threads

OnStep = Callable[[int, StepRecord], None]


def run(
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    on_step: OnStep | None = None,
) -> RunRecord:
    """Carry a recipe out in a folder.

    Every finished step is saved by one rename, and the next one starts from what was saved. So a run that was
    killed at any moment and then resumed gives, on a CPU, bit for bit what an uninterrupted run gives. In the
    end the folder holds `record.json` and the artifact `model/`.

    Args:
        out: a new or empty folder, unless `resume` or `overwrite`.
        resume: go on after the last finished step, and inside a training after the last finished epoch.
        overwrite: start again in the folder of an earlier run.
        on_step: called with number (from 1) and record of every finished step, also of those found finished.

    Raises:
        ConvslimError: one of its children; messages of steps start with the step's number and kind.
    """
    folder = RunFolder(Path(out))
    barrier, primary = _processes()
    with folder.locked() if primary else nullcontext(), threads(recipe.threads):
        if primary:
            folder.prepare(recipe.to_data(), resume=resume, overwrite=overwrite)
        barrier()
        source = open_source(recipe)
        original = _factory(recipe, source)
        state = State(original())
        base = cost(state.model, source.example_input())
        record = RunRecord(
            name=recipe.name,
            seed=recipe.seed,
            recipe=recipe.to_data(),
            versions=versions(),
            machine=Machine.here(),
            base_macs=base.macs,
            base_params=base.params,
            data_notes=source.notes,
        )
        _check(recipe, folder, state, source)
        for number, step in enumerate(recipe.steps, start=1):
            if not folder.finished(number, step.kind).exists():
                context = _context(folder, number, step, source, original, primary, quiet)
                context = replace(context, finished=record.steps)
                _carry_out(recipe, folder, number, step, state, context)
                barrier()
            before = state
            state, finished = folder.read(number, step.kind, state, original)
            state = replace(state, uncut=_uncut(before, state))
            record = record.model_copy(update={"steps": (*record.steps, finished)})
            if primary:
                record.save(folder.path / RECORD)
                if on_step is not None:
                    on_step(number, finished)
        if primary:
            save(state.model, folder.path / MODEL, plan=state.plan, record=record.model_dump(mode="json"))
        barrier()
        return record


def before_step(recipe: Recipe, out: str | Path, number: int, *, quiet: bool = False) -> tuple[State, Context]:
    """What a step of a run in that folder starts from, for a process beside the run; it writes no files.

    Raises:
        ArtifactError: the steps before it are not finished, or something is damaged.
    """
    folder = RunFolder(Path(out))
    source = open_source(recipe)
    original = _factory(recipe, source)
    state, finished = State(original()), tuple[StepRecord, ...]()
    for earlier, step in enumerate(recipe.steps[: number - 1], start=1):
        before = state
        state, record = folder.read(earlier, step.kind, state, original)
        state, finished = replace(state, uncut=_uncut(before, state)), (*finished, record)
    context = _context(folder, number, recipe.steps[number - 1], source, original, False, quiet)
    return state, replace(context, finished=finished)


def _processes() -> tuple[Callable[[], None], bool]:
    """A barrier for all processes of the run, and whether this is the first of them."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return lambda: None, True
    fabric = connect()
    return fabric.barrier, bool(fabric.is_global_zero)


def _factory(recipe: Recipe, source: DataSource) -> Callable[[], nn.Module]:
    """Builds the recipe's network with its first weights, the same ones at every call."""
    options = dict(recipe.model.options)

    def original() -> nn.Module:
        with kept_random_state():
            torch.manual_seed(recipe.seed)
            model = models.create(recipe.model.spec, **options)
        if recipe.model.weights is not None:
            load_weights(model, Path(expand(recipe.model.weights, "model.weights")))
        return model

    return original


def _context(
    folder: RunFolder,
    number: int,
    step: RecipeStep,
    source: DataSource,
    original: Callable[[], nn.Module],
    primary: bool,
    quiet: bool,
) -> Context:
    return Context(
        source=source,
        example_input=source.example_input(),
        original=original,
        out=folder.path,
        work=folder.work(number, step.kind),
        primary=primary,
        quiet=quiet,
    )


def _carry_out(
    recipe: Recipe, folder: RunFolder, number: int, step: RecipeStep, state: State, context: Context
) -> None:
    """Run one step, evaluate what came out, and save both."""
    started = time.perf_counter()
    try:
        outcome = STEPS[step.kind].run(step.config, state, context)
    except ConvslimError as error:
        raise type(error)(f"Step {number} ({step.kind}): {error}") from error
    after = _after(state, outcome)
    metrics = outcome.metrics
    if metrics is None and outcome.model is not None:
        metrics = measure(recipe.evaluation, after, context)
    size = cost(after.model, context.example_input)
    answers = predictions_of(metrics)
    record = StepRecord(
        kind=step.kind,
        config=step.config.model_dump(mode="json"),
        seconds=time.perf_counter() - started,
        macs=size.macs,
        params=size.params,
        **(metrics.record_fields() if metrics else {}),
        **_class_fields(recipe, folder, step, after, answers, context),
        latency=outcome.latency,
        details=dict[str, Any](outcome.details),
    )
    if context.primary:
        if answers is not None:
            save_predictions(answers, context.work)
        folder.finish(number, step.kind, outcome, after.plan, record)


def _class_fields(
    recipe: Recipe,
    folder: RunFolder,
    step: RecipeStep,
    after: State,
    answers: Predictions | None,
    context: Context,
) -> dict[str, Any]:
    """What the record of a step says of classes."""
    config = step.config if isinstance(step.config, EvaluateStep) else recipe.evaluation
    compressed = after.plan is not None or step.kind == "quantize"
    return class_fields(answers, folder, context, compressed=compressed, num_samples=config.samples)


def _after(state: State, outcome: Outcome) -> State:
    """The state with a step's network, and with its cut put behind the earlier ones."""
    plan = state.plan
    if outcome.plan is not None:
        plan = outcome.plan if plan is None else plan.then(outcome.plan)
    return replace(state, model=outcome.model if outcome.model is not None else state.model, plan=plan)


def _uncut(before: State, after: State) -> nn.Module | None:
    """The network that the first cut found, from that cut on."""
    if before.plan is None and after.plan is not None:
        return after.uncut or before.model
    return before.uncut


def _check(recipe: Recipe, folder: RunFolder, state: State, source: DataSource) -> None:
    """Meet a budget out of reach, or a pattern that matches nothing, before the hours of training before it."""
    steps = [(step.kind, step.config) for step in recipe.steps]
    check_order(steps)
    check_guidance(steps, source.train.task)
    for number, step in enumerate(recipe.steps, start=1):
        if isinstance(step.config, PruneStep | SearchStep) and not folder.finished(number, step.kind).exists():
            context = _context(folder, number, step, source, lambda: state.model, True, True)
            try:
                if isinstance(step.config, SearchStep):
                    check_search(step.config, state, context)
                else:
                    check(step.config, state, context)
            except ConvslimError as error:
                raise type(error)(f"Step {number} ({step.kind}): {error}") from error
            return
