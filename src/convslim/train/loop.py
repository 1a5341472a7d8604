"""The training loop."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from convslim.data import Batches, DataSource
from convslim.errors import DataError, TrainingError
from convslim.sparsity.penalty import Penalty
from convslim.train.config import TrainConfig
from convslim.train.devices import (
    autocast,
    connect,
    epoch_seed,
    kept_random_state,
    share_state_,
    sum_over_processes,
    threads,
)
from convslim.train.divergence import DivergenceWatch
from convslim.train.ema import WeightAverage
from convslim.train.evaluate import evaluate
from convslim.train.forward import logits
from convslim.train.history import CHECKPOINT, METRICS, EpochMetrics, resume_, save, write_metrics
from convslim.train.optimizer import build_optimizer
from convslim.train.progress import progress
from convslim.train.schedule import learning_rate


@dataclass(frozen=True)
class FitResult:
    """A trained copy of the model (the weight average, where one is kept) and the metrics of every epoch."""

    model: nn.Module
    history: tuple[EpochMetrics, ...]


@dataclass
class Training:
    """The parts that one training moves: `model` is what Fabric wraps, `module` the network inside."""

    config: TrainConfig
    fabric: Fabric
    model: nn.Module
    module: nn.Module
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None
    penalty: Penalty | None
    parameters: Mapping[str, Tensor]
    watch: DivergenceWatch


def fit(
    model: nn.Module,
    source: DataSource,
    config: TrainConfig,
    *,
    out: Path | None = None,
    resume: bool = False,
    penalty: Penalty | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    quiet: bool = False,
) -> FitResult:
    """Train a classifier by cross-entropy; the given model stays as it is.

    With `out`, every epoch ends with an atomic checkpoint `training.safetensors` and a line in
    `metrics.jsonl`. With `resume`, training goes on after the last finished epoch, and on a CPU gives bit for
    bit what an uninterrupted training gives. Under `torchrun` the processes share each batch.

    Args:
        source: where the training and test images come from.
        penalty: sparsity penalty, applied around the optimizer's step.
        on_epoch: called with each epoch's metrics.
        quiet: draw no progress bar.

    Raises:
        TrainingError: the loss is not finite, or training diverged; the last checkpoint is kept.
        ModelError: the model fails on a batch.
        DataError: no training images, or labels outside the model's classes.
        ArtifactError: the checkpoint cannot be written or read, or belongs to another configuration.
    """
    with kept_random_state(), threads(config.threads):
        training = _prepare(model, source, config, penalty)
        history: list[EpochMetrics] = []
        if out is not None and resume and (out / CHECKPOINT).exists():
            history = resume_(training, out / CHECKPOINT)
        if out is not None and training.fabric.is_global_zero:
            write_metrics(out / METRICS, history)
        for epoch in range(len(history), config.epochs):
            metrics = _train_epoch(training, source, epoch, out, quiet)
            history.append(metrics)
            if out is not None and training.fabric.is_global_zero:
                save(training, out / CHECKPOINT, history)
                write_metrics(out / METRICS, history)
            training.fabric.barrier()
            if on_epoch is not None:
                on_epoch(metrics)
        return FitResult(model=_result(training, model), history=tuple(history))


def _prepare(model: nn.Module, source: DataSource, config: TrainConfig, penalty: Penalty | None) -> Training:
    if len(source.train) == 0:
        raise DataError("The training split is empty; check the data set's folder.")
    fabric = connect()
    module = fabric.to_device(copy.deepcopy(model))
    if config.channels_last:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(module, config)
    wrapped, optimizer = fabric.setup(module, optimizer)
    return Training(
        config=config,
        fabric=fabric,
        model=wrapped,
        module=module,
        optimizer=optimizer,
        average=WeightAverage(module, config.ema_decay) if config.ema_decay else None,
        penalty=penalty,
        parameters=dict(module.named_parameters()),
        watch=DivergenceWatch(source.num_classes, config.divergence_factor, config.divergence_patience),
    )


def _train_epoch(training: Training, source: DataSource, epoch: int, out: Path | None, quiet: bool) -> EpochMetrics:
    config, fabric = training.config, training.fabric
    batches = _batches(training, source, epoch)
    num_steps = len(batches)
    training.model.train()
    torch.manual_seed(epoch_seed(config.seed, epoch, fabric.global_rank))
    started = time.perf_counter()
    totals = torch.zeros(3, dtype=torch.float64)  # correct, images, summed loss
    lr = config.lr
    label = f"epoch {epoch + 1}/{config.epochs}"
    with progress(label, num_steps, quiet=quiet or not fabric.is_global_zero) as advance:
        for step, (images, labels) in enumerate(batches):
            lr = learning_rate(config, epoch + step / num_steps)
            loss, correct = _train_step(training, images, labels, lr)
            failure = training.watch.verdict(loss)
            if failure:
                raise _failed(failure, epoch, step, lr, out)
            totals += torch.tensor([correct, len(labels), loss * len(labels)], dtype=torch.float64)
            advance(f"loss {totals[2] / totals[1]:.4f}")
    correct, images_seen, summed_loss = sum_over_processes(fabric, totals).tolist()
    seconds = time.perf_counter() - started
    metrics = EpochMetrics(
        epoch=epoch + 1,
        lr=lr,
        train_loss=summed_loss / images_seen,
        train_accuracy=correct / images_seen,
        penalty=training.penalty.value(training.parameters) if training.penalty else None,
        seconds=seconds,
        images_per_second=images_seen / seconds,
    )
    if (epoch + 1) % config.evaluate_every and epoch + 1 != config.epochs:
        return metrics
    return _with_test(training, source, metrics, quiet)


def _batches(training: Training, source: DataSource, epoch: int) -> Batches:
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


def _train_step(training: Training, images: Tensor, labels: Tensor, lr: float) -> tuple[float, int]:
    """One step of the optimizer; returns the batch's mean loss and its number of correct images."""
    config, optimizer = training.config, training.optimizer
    for group in optimizer.param_groups:
        group["lr"] = lr
    images, labels = training.fabric.to_device((images, labels))
    if config.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    optimizer.zero_grad()
    with autocast(config.precision, images.device):
        scores = logits(training.model, images, labels, name=type(training.module).__name__)
    loss = F.cross_entropy(scores, labels, label_smoothing=config.label_smoothing)
    training.fabric.backward(loss)
    if training.penalty:
        training.penalty.apply_gradient_(training.parameters)
    if config.clip_norm:
        nn.utils.clip_grad_norm_(training.module.parameters(), config.clip_norm)
    optimizer.step()
    if training.penalty:
        training.penalty.apply_proximal_(training.parameters, lr)
    if training.average:
        training.average.update_(training.module)
    return loss.item(), int((scores.argmax(1) == labels).sum())


def _with_test(training: Training, source: DataSource, metrics: EpochMetrics, quiet: bool) -> EpochMetrics:
    """The metrics of an epoch completed by those of the test images, at the training's precision."""
    config = training.config
    share_state_(training.fabric, training.module)
    module = training.average.model if training.average else training.module
    test = evaluate(module, source.test, precision=config.precision, channels_last=config.channels_last, quiet=quiet)
    found = {"test_correct": test.correct, "test_total": test.total, "test_loss": test.loss}
    return EpochMetrics(**{**asdict(metrics), **found, "test_accuracy": test.accuracy})


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
