"""The training loop."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from convslim.data import DataSource
from convslim.data.source import SplitBatches
from convslim.distill import Guidance
from convslim.errors import DataError, TrainingError
from convslim.sparsity.paced import Paced
from convslim.sparsity.penalty import Penalty
from convslim.train.config import TrainConfig
from convslim.train.devices import (
    connect,
    epoch_seed,
    kept_random_state,
    share_state_,
    sum_over_processes,
    threads,
)
from convslim.train.divergence import DivergenceWatch, broken
from convslim.train.ema import WeightAverage
from convslim.train.evaluate import evaluate
from convslim.train.history import CHECKPOINT, METRICS, EpochMetrics, resume_, save, write_metrics
from convslim.train.observer import EpochEnd, Observer
from convslim.train.optimizer import build_optimizer
from convslim.train.progress import progress
from convslim.train.schedule import learning_rate
from convslim.train.step import Training, train_step
from convslim.train.tasks import task_of


@dataclass(frozen=True)
class FitResult:
    """A trained copy of the model (the weight average, where one is kept) and the metrics of every epoch."""

    model: nn.Module
    history: tuple[EpochMetrics, ...]


def fit(
    model: nn.Module,
    source: DataSource,
    config: TrainConfig,
    *,
    out: Path | None = None,
    resume: bool = False,
    penalty: Penalty | None = None,
    guidance: Guidance | None = None,
    observer: Observer | None = None,
    first_epoch: int = 0,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    quiet: bool = False,
) -> FitResult:
    """Train a network by the loss of its task, and towards a teacher if one guides; the given model stays as it is.

    The task is that of the data: classifiers learn labels by cross-entropy, detectors boxes by `detection_loss`.

    With `out`, every epoch ends with an atomic checkpoint `training.safetensors` and a line in
    `metrics.jsonl`. With `resume`, training goes on after the last finished epoch, and on a CPU gives bit for
    bit what an uninterrupted training gives. Under `torchrun` the processes share each batch.

    Args:
        source: where the training and test images come from.
        penalty: sparsity penalty, applied around the optimizer's step.
        guidance: the teacher and the losses, as `convslim.distill.guide` prepares them; stays as it is.
        observer: sees the network in training after every step and epoch, and may end the training.
        first_epoch: epochs of `config` that lie behind the model already; the schedule goes on there.
        on_epoch: called with each epoch's metrics.
        quiet: draw no progress bar.

    Raises:
        TrainingError: the loss is not finite, or training diverged; the last checkpoint is kept. Or `config` wants
            to distill and no guidance is given.
        ModelError: the model fails on a batch.
        DataError: no training images, or targets outside the model's classes.
        ArtifactError: the checkpoint cannot be written or read, or belongs to another configuration.
    """
    with kept_random_state(), threads(config.threads):
        training = _prepare(model, source, config, penalty, guidance, observer)
        history: list[EpochMetrics] = []
        ended = False
        if out is not None and resume and (out / CHECKPOINT).exists():
            history, ended = resume_(training, out / CHECKPOINT)
        if out is not None and training.fabric.is_global_zero:
            write_metrics(out / METRICS, history)
        for epoch in range(first_epoch + len(history), config.epochs):
            if ended:
                break
            metrics, ended = _train_epoch(training, source, epoch, out, quiet)
            history.append(metrics)
            if out is not None and training.fabric.is_global_zero:
                save(training, out / CHECKPOINT, history, ended)
                write_metrics(out / METRICS, history)
            training.fabric.barrier()
            if on_epoch is not None:
                on_epoch(metrics)
        return FitResult(model=_result(training, model), history=tuple(history))


def _prepare(
    model: nn.Module,
    source: DataSource,
    config: TrainConfig,
    penalty: Penalty | None,
    guidance: Guidance | None,
    observer: Observer | None,
) -> Training:
    if len(source.train) == 0:
        raise DataError("The training split is empty; check the data set's folder.")
    if config.distill and guidance is None:
        raise TrainingError(
            "The configuration wants to distill, but no teacher is given. Pass guidance=convslim.distill.guide(model, "
            "teacher, example_input, config.distill) to fit, or leave out distill."
        )
    task = task_of(source.train)
    fabric = connect()
    module = fabric.to_device(copy.deepcopy(model))
    guidance = copy.deepcopy(guidance)
    trained, moved = [module], [module]
    if guidance is not None:
        fabric.to_device(guidance)
        trained, moved = [module, guidance.adapters], [module, guidance]
    if config.channels_last:
        for part in moved:
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    wrapped, optimizer = fabric.setup(module, build_optimizer(trained, config))
    return Training(
        config=config,
        fabric=fabric,
        model=wrapped,
        module=module,
        optimizer=optimizer,
        average=WeightAverage(module, config.ema_decay) if config.ema_decay else None,
        penalty=penalty,
        guidance=guidance,
        observer=observer,
        parameters={**dict(module.named_parameters()), **dict(module.named_buffers())},
        watch=DivergenceWatch(task.guessing(source), config.divergence_factor, config.divergence_patience),
        task=task,
    )


def _train_epoch(
    training: Training, source: DataSource, epoch: int, out: Path | None, quiet: bool
) -> tuple[EpochMetrics, bool]:
    """The metrics of one epoch, and whether the observer ends the training with it."""
    config, fabric = training.config, training.fabric
    batches = _batches(training, source, epoch)
    num_steps = len(batches)
    training.model.train()
    torch.manual_seed(epoch_seed(config.seed, epoch, fabric.global_rank))
    started = time.perf_counter()
    totals = torch.zeros(4, dtype=torch.float64)  # right, images, summed loss, summed guidance
    lr, hits = config.lr, None
    label = f"epoch {epoch + 1}/{config.epochs}"
    with progress(label, num_steps, quiet=quiet or not fabric.is_global_zero) as advance:
        for step, (images, targets) in enumerate(batches):
            lr = learning_rate(config, epoch + step / num_steps)
            if isinstance(training.penalty, Paced):
                training.penalty.pace_(training.parameters, (epoch + step / num_steps) / config.epochs, lr)
            loss, guided, hits = train_step(training, images, targets, lr)
            failure = training.watch.verdict(loss if math.isfinite(guided) else guided)
            if failure:
                raise _failed(failure, epoch, step, lr, out)
            size = len(images)
            totals += torch.tensor([hits or 0, size, loss * size, guided * size], dtype=torch.float64)
            advance(f"loss {totals[2] / totals[1]:.4f}{_note(training)}")
    if failure := broken(training.parameters):
        raise _failed(failure, epoch, num_steps - 1, lr, out)
    right, images_seen, summed_loss, summed_guidance = sum_over_processes(fabric, totals).tolist()
    seconds = time.perf_counter() - started
    end = training.observer.end_epoch_(training.module) if training.observer else EpochEnd()
    metrics = EpochMetrics(
        epoch=epoch + 1,
        lr=lr,
        train_loss=summed_loss / images_seen,
        train_accuracy=None if hits is None else right / images_seen,
        penalty=training.penalty.value(training.parameters) if training.penalty else None,
        seconds=seconds,
        images_per_second=images_seen / seconds,
        guidance=summed_guidance / images_seen if training.guidance else None,
        facts=end.facts or None,
    )
    if (epoch + 1) % config.evaluate_every and epoch + 1 != config.epochs and not end.stop:
        return metrics, end.stop
    return _with_test(training, source, metrics, quiet), end.stop


def _note(training: Training) -> str:
    return f"  {training.observer.note(training.module)}" if training.observer else ""


def _batches(training: Training, source: DataSource, epoch: int) -> SplitBatches:
    """This process's share of an epoch; a last batch that is not full is left out."""
    config, fabric = training.config, training.fabric
    return source.train.batches(
        config.batch_size,
        seed=config.seed,
        epoch=epoch,
        augment=config.augment,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        limit=config.steps_per_epoch and config.steps_per_epoch * config.batch_size,
        drop_last=len(source.train) >= config.batch_size,
    )


def _with_test(training: Training, source: DataSource, metrics: EpochMetrics, quiet: bool) -> EpochMetrics:
    """The metrics of an epoch completed by those of the test images, at the training's precision."""
    config = training.config
    share_state_(training.fabric, training.module)
    module = training.average.model if training.average else training.module
    test = evaluate(module, source.test, precision=config.precision, channels_last=config.channels_last, quiet=quiet)
    return replace(metrics, **test.epoch_fields())


def _failed(failure: str, epoch: int, step: int, lr: float, out: Path | None) -> TrainingError:
    if out is not None and (out / CHECKPOINT).exists():
        kept = f"The last good state, after epoch {epoch}, is kept in {out / CHECKPOINT}."
    else:
        kept = "No epoch had been saved before."
    return TrainingError(
        f"Training stopped in epoch {epoch + 1}, step {step + 1} (learning rate {lr:.3g}): {failure}. {kept} "
        "Lower lr, lengthen warmup_epochs or set clip_norm, and start again."
    )


def _result(training: Training, model: nn.Module) -> nn.Module:
    """The trained network on the caller's device, with the caller's training flags."""
    share_state_(training.fabric, training.module)
    trained = training.average.model if training.average else training.module
    fresh = copy.deepcopy(model)
    fresh.load_state_dict(trained.state_dict())
    return fresh
