"""What step `search` measures candidates by: right labels, or what the task of a detector's images measures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from convslim.data import ImageSplit
from convslim.data.detection import DetectionSplit
from convslim.errors import DataError
from convslim.search.evaluation import Evaluation
from convslim.search.evaluation_measure import Labels, Measure
from convslim.train.task import Judge, Task
from convslim.train.tasks import task_of


def measure_of(split: ImageSplit) -> Measure:
    """What candidates are measured by on the images of a split.

    Raises:
        DataError: No object in the images counts, so that all candidates would be equal.
    """
    if not isinstance(split, DetectionSplit):
        return Labels()
    if all(bool(image.objects.difficult.all()) for image in split.annotated.images):
        raise DataError(
            f"No object counts in the {len(split)} images that candidates are judged on, so there is no average "
            "precision. Raise num_images, or hold out more images."
        )
    # Averages over several overlaps take long, and no candidate is chosen by them.
    return TaskMeasure(task_of(split), replace(split, coco=False))


@dataclass(frozen=True, eq=False)
class TaskMeasure:
    """What step `evaluate` measures of a split's images, for candidates.

    Attributes:
        task: Reads outputs, and judges them.
        split: Of the images that count.
    """

    task: Task
    split: ImageSplit

    def checked(self, outputs: Any, images: Tensor, targets: Any) -> Any:
        """The outputs as the task wants them; errors are the task's."""
        # Candidates run in the layout channels last, of which a user's heads could take no views.
        plain = tree_map_only(Tensor, Tensor.contiguous, outputs)
        return self.task.checked(plain, images, targets, "The network")

    def tally(self) -> TaskTally:
        """A judge of the task, anew."""
        return TaskTally(self.task.judge(self.split))


@dataclass(eq=False)
class TaskTally:
    """A task's judge of one candidate.

    Attributes:
        judge: Compares outputs with targets.
        seen: Images.
    """

    judge: Judge
    seen: int = 0

    def add_(self, outputs: Any, targets: Any) -> None:
        """Take a batch in."""
        self.judge.add_(outputs, targets, torch.arange(self.seen, self.seen + len(targets)))
        self.seen += len(targets)

    def is_hopeless(self, below: float, *, total: int, looks: int, error: float) -> bool:
        """Never: nothing bounds the average precision of all images by that of some."""
        return False

    def evaluation(self, *, complete: bool, seconds: float) -> Evaluation:
        """What the judge measured."""
        found = self.judge.measured()
        return Evaluation(None, found.total, complete, seconds, found.value)
