"""What a run will take, before it: a few real training and evaluation steps are timed, and counted up."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from convslim.data import DataSource
from convslim.errors import ConvslimError
from convslim.measure.machine import peak_memory, physical_memory
from convslim.pipeline.recipe import Recipe, RecipeStep
from convslim.pipeline.run import before_step
from convslim.pipeline.state import Context, State
from convslim.pipeline.steps.evaluate import measure
from convslim.pipeline.steps.order import check_order
from convslim.pipeline.steps.prune import PruneStep, check
from convslim.pipeline.steps.quantize import QuantizeStep
from convslim.pipeline.steps.search import SearchStep
from convslim.train import TrainConfig, fit
from convslim.train.devices import threads

TIMED: Final = 3
"""Training steps that are timed, and batches that are evaluated."""
SAVING: Final = ("train", "sparsify", "prune", "search", "select", "reconstruct", "recalibrate", "finetune")
"""Steps that leave a network in the run's folder."""


@dataclass(frozen=True)
class StepEstimate:
    """One step: seconds with its evaluation; None where nothing is known of it."""

    kind: str
    seconds: float | None


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to take on this machine, as busy as it is.

    Attributes:
        steps: One by one.
        memory: Bytes that this process had at most while training and evaluation steps ran; None where the system
            does not say.
        memory_present: Bytes of the machine.
        disk: Bytes of the networks and checkpoints in the run's folder; exported files come on top.
        disk_free: Bytes that are free there.
    """

    steps: tuple[StepEstimate, ...]
    memory: int | None
    memory_present: int | None
    disk: int
    disk_free: int

    @property
    def seconds(self) -> float:
        """Of all steps of which something is known."""
        return sum(step.seconds or 0 for step in self.steps)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Kinds of the other steps."""
        return tuple(step.kind for step in self.steps if step.seconds is None)


@dataclass(frozen=True)
class _Pace:
    """Seconds of the network before any cut: a training step by batch size, one evaluation, one check of a cut."""

    step: dict[int, float]
    evaluation: float
    image: float
    cut: float
    train_images: int

    def training(self, config: TrainConfig) -> float:
        """All epochs, with their evaluations; a teacher adds a forward pass to a forward and a backward one."""
        per_epoch = config.steps_per_epoch or max(1, self.train_images // config.batch_size)
        guided = 4 / 3 if config.distill else 1.0
        steps = config.epochs * per_epoch * self.step[config.batch_size] * guided
        return steps + (config.epochs // config.evaluate_every) * self.evaluation


def estimate(recipe: Recipe, out: Path) -> Estimate:
    """Build network and data, check the recipe against them, time a few steps, and count up.

    Trainings are timed with the network before any cut, and shortened by the share of the MACs that a budget leaves.
    Nothing is written.

    Raises:
        ConvslimError: what the run itself would meet before its first step.
    """
    with threads(recipe.threads):
        state, context = before_step(recipe, out, 1, quiet=True)
        check_order([(step.kind, step.config) for step in recipe.steps])
        pace = _pace(recipe, state, context)
    share, steps = 1.0, []
    for step in recipe.steps:
        share = min(share, _left(step))
        seconds = _seconds(step, pace)
        steps.append(StepEstimate(step.kind, None if seconds is None else seconds * share))
    folder = next(place for place in (out.absolute(), *out.absolute().parents) if place.exists())
    return Estimate(
        steps=tuple(steps),
        memory=peak_memory(),
        memory_present=physical_memory(),
        disk=_disk(recipe, state),
        disk_free=shutil.disk_usage(folder).free,
    )


def _pace(recipe: Recipe, state: State, context: Context) -> _Pace:
    source = context.source
    sizes = {config.batch_size: config for step in recipe.steps for config in _trainings(step)}
    few = replace(source, test=_some(source, recipe.evaluation.batch_size))
    evaluation, images = recipe.evaluation, len(source.test)
    image = _timed(lambda: measure(evaluation, state, replace(context, source=few))) / len(few.test)
    return _Pace(
        step={size: _step_seconds(state, few, config) for size, config in sizes.items()},
        evaluation=image * min(images, evaluation.limit or images),
        image=image,
        cut=_cut_seconds(recipe, state, context),
        train_images=len(source.train),
    )


def _timed(call: Any) -> float:
    """Seconds of the second of two calls."""
    call()
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _some(source: DataSource, batch_size: int) -> Any:
    """A few batches of the test images."""
    return source.test.subset(torch.arange(min(len(source.test), TIMED * batch_size)))


def _trainings(step: RecipeStep) -> Iterator[TrainConfig]:
    if isinstance(step.config, TrainConfig):
        yield step.config
    elif isinstance(step.config, QuantizeStep) and step.config.train is not None:
        yield step.config.train


def _step_seconds(state: State, few: DataSource, config: TrainConfig) -> float:
    """Seconds of one training step, after an epoch to warm up."""
    plain = TrainConfig(
        epochs=2,
        steps_per_epoch=TIMED,
        batch_size=config.batch_size,
        lr=1e-6,
        precision=config.precision,
        channels_last=config.channels_last,
        threads=config.threads,
        evaluate_every=2,
    )
    last = fit(state.model, few, plain, quiet=True).history[-1]
    return last.seconds / TIMED


def _cut_seconds(recipe: Recipe, state: State, context: Context) -> float:
    """Seconds to trace, to score and to solve for the first budget, which is thereby checked."""
    for number, step in enumerate(recipe.steps, start=1):
        if isinstance(step.config, PruneStep):
            started = time.perf_counter()
            try:
                check(step.config, state, context)
            except ConvslimError as error:
                raise type(error)(f"Step {number} ({step.kind}): {error}") from error
            return time.perf_counter() - started
    return 0.0


def _left(step: RecipeStep) -> float:
    """Share of the MACs that a step's budget leaves, as far as it says."""
    budget = getattr(step.config, "budget", None)
    macs = getattr(budget, "macs", None)
    return float(macs) if isinstance(macs, float) and macs <= 1 else 1.0


def _seconds(step: RecipeStep, pace: _Pace) -> float | None:
    """Seconds of a step with the uncut network."""
    config = step.config
    if isinstance(config, TrainConfig):
        return pace.training(config) + pace.evaluation
    if isinstance(config, PruneStep):
        return 2 * pace.cut + pace.evaluation
    if isinstance(config, SearchStep):
        images = config.num_images + config.num_batches * config.batch_size
        return config.population * config.generations * images * pace.image + pace.cut + pace.evaluation
    if isinstance(config, QuantizeStep) and config.train is not None:
        return pace.training(config.train) + 3 * pace.evaluation
    return pace.evaluation if step.kind in ("evaluate", "recalibrate") else None


def _disk(recipe: Recipe, state: State) -> int:
    """Bytes of what steps leave, and of the largest checkpoint of a training; widths of cuts are not counted off."""
    tensors = state.model.state_dict().values()
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    saved = sum(step.kind in SAVING for step in recipe.steps) + 1
    configs = [config for step in recipe.steps for config in _trainings(step)]
    checkpoint = max(
        (2 + (config.optimizer != "sgd") + (config.ema_decay is not None) for config in configs), default=0
    )
    return size * (saved + checkpoint)
