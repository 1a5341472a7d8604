"""How fast this machine does what steps are made of: measured before a run, and the formulas that count it up."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from convslim.data import DataSource
from convslim.errors import ConvslimError
from convslim.export import export_onnx
from convslim.measure.watch import Watch, watched
from convslim.pipeline.recipe import Recipe, RecipeStep
from convslim.pipeline.state import Context, State
from convslim.pipeline.steps.bench import BenchStep
from convslim.pipeline.steps.evaluate import measure
from convslim.pipeline.steps.export import ExportStep
from convslim.pipeline.steps.prune import PruneStep, check
from convslim.pipeline.steps.quantize import QuantizeStep
from convslim.pipeline.steps.recalibrate import RecalibrateStep
from convslim.pipeline.steps.reconstruct import ReconstructStep
from convslim.pipeline.steps.search import SearchStep
from convslim.report.run_files import ORIGINAL
from convslim.train import TrainConfig, fit

TIMED: Final = 3
"""Training steps that are timed, and batches that are evaluated."""
REFITTED: Final = 14
"""Forward passes of the uncut network that a reconstruction costs for an image: 16 were measured with `digits_cnn` and
13 with ResNet-20 at half of the MACs."""
CALIBRATED: Final = 8
"""The same of a calibration for integers: 3 and 14."""
JUDGED: Final = 6
"""Evaluations of the float network that step `quantize` ends with, about: of it, of the file, and of the simulation,
which is slower."""


@dataclass(frozen=True)
class Pace:
    """Seconds of the network before any cut.

    Attributes:
        step: A training step, by batch size.
        evaluation: One evaluation on the test images.
        image: One image of it.
        cut: One check of a cut.
        export: Writing and checking one ONNX file.
        train_images, test_images: How many there are.
    """

    step: dict[int, float]
    evaluation: float
    image: float
    cut: float
    export: float
    train_images: int
    test_images: int

    def training(self, config: TrainConfig) -> float:
        """All epochs, with their evaluations; a teacher adds a forward pass to a forward and a backward one."""
        per_epoch = config.steps_per_epoch or max(1, self.train_images // config.batch_size)
        guided = 4 / 3 if config.distill else 1.0
        steps = config.epochs * per_epoch * self.step[config.batch_size] * guided
        return steps + (config.epochs // config.evaluate_every) * self.evaluation

    def exporting(self, config: ExportStep) -> float:
        """One file, or with its latency two and their calls, each image as long as PyTorch's at most."""
        return self.export if config.latency is None else 2 * (self.export + self.calls(config.latency))

    def calls(self, config: Any) -> float:
        """The timed calls of one file."""
        return (config.repeats + config.warmup) * sum(config.batches) * self.image

    def quantizing(self, config: QuantizeStep, share: float) -> float:
        """Training of a network cut to a share of its MACs, calibration, the file, and evaluations."""
        images = min(self.test_images, config.limit or self.test_images)
        trained = share * self.training(config.train) if config.train is not None else 0.0
        calibrated = CALIBRATED * min(config.num_images, self.train_images) * self.image
        return trained + calibrated + self.export + JUDGED * images * self.image

    def refitting(self, config: ReconstructStep) -> float:
        """Replayed forward passes and least squares."""
        images = min(config.num_images + config.compared, self.train_images)
        return REFITTED * images * self.image + self.evaluation

    def searching(self, config: SearchStep) -> float:
        """Statistics and fitness of every candidate."""
        images = config.num_images + config.num_batches * config.batch_size
        return config.population * config.generations * images * self.image + self.cut + self.evaluation

    def timing(self, config: BenchStep, files: int) -> float:
        """All calls of all files, twice as many where the layers are timed too."""
        runtimes = 1 + len(config.also)
        return (len(config.files) or files) * runtimes * (1 + config.profile) * self.calls(config)


def seconds_of(step: RecipeStep, pace: Pace, share: float, files: int) -> float:
    """Seconds of a step.

    Args:
        share: Of the MACs, that cuts have left. Exports, reconstructions and calibrations are not shortened by it.
        files: ONNX files that the steps before it leave.
    """
    match step.config:
        case TrainConfig() as config:
            return share * (pace.training(config) + pace.evaluation)
        case PruneStep():
            return 2 * pace.cut + share * pace.evaluation
        case SearchStep() as config:
            return share * pace.searching(config)
        case QuantizeStep() as config:
            return pace.quantizing(config, share)
        case ReconstructStep() as config:
            return pace.refitting(config)
        case RecalibrateStep() as config:
            return share * (config.num_batches * config.batch_size * pace.image + pace.evaluation)
        case ExportStep() as config:
            return pace.exporting(config)
        case BenchStep() as config:
            return pace.timing(config, files)
    return share * pace.evaluation


def files_of(steps: Sequence[RecipeStep]) -> set[str]:
    """Names of the ONNX files that steps write."""
    configs = [step.config for step in steps if isinstance(step.config, ExportStep | QuantizeStep)]
    timed = any(isinstance(config, ExportStep) and config.latency is not None for config in configs)
    return {config.file for config in configs} | ({ORIGINAL} if timed else set())


def pace_of(recipe: Recipe, state: State, context: Context, watch: Watch | None = None) -> Pace:
    """Time a few real steps of everything that the recipe has."""
    source = context.source
    sizes = {config.batch_size: config for step in recipe.steps for config in trainings(step)}
    few = replace(source, test=_some(source, recipe.evaluation.batch_size))
    evaluation, images = recipe.evaluation, len(source.test)
    works: dict[int | str, Callable[[], float]] = {
        **{size: partial(_step_seconds, state, few, config) for size, config in sizes.items()},
        "images": lambda: _timed(lambda: measure(evaluation, state, replace(context, source=few))),
        "cut": lambda: _cut_seconds(recipe, state, context),
        "export": lambda: _export_seconds(recipe, state, context),
    }
    seconds = {name: work() for name, work in watched(list(works.items()), "time a few steps", watch)}
    image = seconds["images"] / len(few.test)
    return Pace(
        step={size: seconds[size] for size in sizes},
        evaluation=image * min(images, evaluation.limit or images),
        image=image,
        cut=seconds["cut"],
        export=seconds["export"],
        train_images=len(source.train),
        test_images=images,
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


def trainings(step: RecipeStep) -> Iterator[TrainConfig]:
    """What a step trains."""
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


def _export_seconds(recipe: Recipe, state: State, context: Context) -> float:
    """Seconds of one export, into a folder that is gone afterwards: a network that cannot be exported is met here."""
    for number, step in enumerate(recipe.steps, start=1):
        if isinstance(step.config, ExportStep | QuantizeStep):
            started = time.perf_counter()
            try:
                with tempfile.TemporaryDirectory() as folder:
                    file = Path(folder) / "model.onnx"
                    export_onnx(state.model, context.example_input, file, opset=step.config.opset)
            except ConvslimError as error:
                raise type(error)(f"Step {number} ({step.kind}): {error}") from error
            return time.perf_counter() - started
    return 0.0
