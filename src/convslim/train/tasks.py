"""The tasks, by the name that a split gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from convslim.data import ImageSplit
from convslim.data.source import TaskName
from convslim.train.classification import Classification
from convslim.train.detection import Detection
from convslim.train.task import Task

TASKS: Final[Mapping[TaskName, Task]] = {"classification": Classification(), "detection": Detection()}


def task_of(split: ImageSplit) -> Task:
    """The task that a split's targets are made for.

    >>> from convslim.data import open_data
    >>> task_of(open_data("digits").train)
    Classification()
    """
    return TASKS[split.task]
