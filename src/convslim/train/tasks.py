"""The tasks, by the name that a split gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor

from convslim.data import ImageSplit
from convslim.data.detection import DetectionSplit
from convslim.data.source import TaskName
from convslim.train.classification import Classification
from convslim.train.config import TrainConfig
from convslim.train.detection import Detection
from convslim.train.task import Task

TASKS: Final[Mapping[TaskName, Task]] = {"classification": Classification(), "detection": Detection()}


def loss_of(split: ImageSplit) -> Callable[[Any, Any], Tensor]:
    """The loss of a split's task, `loss(outputs, targets) -> scalar`, for outputs of images of the split's size."""
    task, config = task_of(split), TrainConfig(epochs=1)

    def loss(outputs: Any, targets: Any) -> Tensor:
        images = torch.empty(len(targets), *split.input_shape, device="meta")  # its shape alone is looked at
        return task.loss(task.checked(outputs, images, targets, "The network"), targets, config)

    return loss


def task_of(split: ImageSplit) -> Task:
    """The task that a split's targets are made for.

    >>> from convslim.data import open_data
    >>> task_of(open_data("digits").train)
    Classification()
    """
    if isinstance(split, DetectionSplit) and split.heads is not None:
        return Detection(split.heads)
    return TASKS[split.task]
