"""One step of training, and what takes part in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from convslim.bfloat16 import autocast
from convslim.distill import Guidance
from convslim.sparsity.penalty import Penalty
from convslim.train.config import TrainConfig
from convslim.train.devices import sum_over_processes
from convslim.train.divergence import DivergenceWatch
from convslim.train.ema import WeightAverage
from convslim.train.forward import outputs_of
from convslim.train.observer import Observer
from convslim.train.synchronized import synchronized
from convslim.train.task import Task


@dataclass
class Training:
    """The parts that one training moves: `model` is what Fabric wraps, `module` the network inside.

    `parameters` are the network's parameters and buffers by name.
    """

    config: TrainConfig
    fabric: Fabric
    model: nn.Module
    module: nn.Module
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None
    penalty: Penalty | None
    guidance: Guidance | None
    observer: Observer | None
    parameters: Mapping[str, Tensor]
    watch: DivergenceWatch
    task: Task


class StepResult(NamedTuple):
    """Mean loss and mean guidance of a batch, and how many of its images are right, where the task tells."""

    loss: float
    guidance: float
    hits: int | None


def train_step(training: Training, images: Tensor, targets: Any, lr: float) -> StepResult:
    """Move the network by one batch."""
    config, optimizer, task = training.config, training.optimizer, training.task
    for group in optimizer.param_groups:
        group["lr"] = lr
    images, targets = training.fabric.to_device((images, targets))
    if config.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    optimizer.zero_grad()
    with synchronized(enabled=config.sync_batchnorm and training.fabric.world_size > 1):
        outputs, lesson = _forward(training, images, targets)
        loss = task.loss(outputs, targets, config)
        total, guided = loss, 0.0
        if training.guidance and lesson:
            guiding = training.guidance.loss(outputs, lesson, targets)
            total, guided = training.guidance.config.label_weight * loss + guiding, guiding.item()
        training.fabric.backward(total)
    if training.guidance:
        _average_adapters_(training.guidance, training.fabric)
    if training.penalty:
        training.penalty.apply_gradient_(training.parameters)
    if config.clip_norm:
        nn.utils.clip_grad_norm_(training.module.parameters(), config.clip_norm)
    optimizer.step()
    if training.penalty:
        training.penalty.apply_proximal_(training.parameters, lr)
    if training.average:
        training.average.update_(training.module)
    return StepResult(loss.item(), guided, task.hits(outputs, targets))


def _forward(training: Training, images: Tensor, targets: Any) -> tuple[Any, tuple[Any, dict[str, Tensor]] | None]:
    """The network's outputs, and what the teacher says of the same images."""
    name = type(training.module).__name__
    with autocast(images.device, enabled=training.config.precision == "bf16"), _watched(training):
        lesson = training.guidance.teach(images) if training.guidance else None
        return outputs_of(training.task, training.model, images, targets, name=name), lesson


@contextmanager
def _watched(training: Training) -> Iterator[None]:
    if training.guidance is None:
        yield
        return
    with training.guidance.watching(training.module):
        yield


def _average_adapters_(guidance: Guidance, fabric: Fabric) -> None:
    """Average the adapters' gradients over processes: the network's, which Fabric wraps, are averaged anyway."""
    for parameter in guidance.adapters.parameters():
        if parameter.grad is not None:
            parameter.grad = sum_over_processes(fabric, parameter.grad) / fabric.world_size
