"""Classification: one label per image, cross-entropy, accuracy counted exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convslim.data import DataSource, ImageSplit
from convslim.errors import DataError
from convslim.train.config import TrainConfig
from convslim.train.forward import class_scores


@dataclass(frozen=True)
class Metrics:
    """Result of an evaluation.

    Attributes:
        correct, total: Images with the right answer, of so many.
        loss: Mean cross-entropy in nats.
        labels, predictions: int64 (total,), what every image is and what it was taken for, in the order of the split;
            None where nobody noted them.
    """

    correct: int
    total: int
    loss: float
    labels: Tensor | None = field(default=None, compare=False, repr=False)
    predictions: Tensor | None = field(default=None, compare=False, repr=False)

    @property
    def accuracy(self) -> float:
        """Share of images whose highest score is their label, 0…1."""
        return self.correct / self.total

    @property
    def measure(self) -> str:
        """`accuracy`."""
        return "accuracy"

    @property
    def value(self) -> float:
        """The accuracy."""
        return self.accuracy

    def epoch_fields(self) -> Mapping[str, Any]:
        """See `Measured`."""
        counts = {"test_correct": self.correct, "test_total": self.total, "test_loss": self.loss}
        return {**counts, "test_accuracy": self.accuracy}

    def record_fields(self) -> Mapping[str, Any]:
        """See `Measured`."""
        return {"correct": self.correct, "total": self.total, "loss": self.loss}


class AccuracyJudge:
    """Notes for every image its label and the class of its highest score."""

    def __init__(self, num_images: int) -> None:
        # Summed loss, then every image's label and prediction, both plus one: 0 where a process has not seen it.
        self._totals = torch.zeros(1 + 2 * num_images, dtype=torch.float64)
        self._labels, self._predictions = self._totals[1:].view(2, num_images)
        self._correct = self._total = 0

    def add_(self, outputs: Tensor, targets: Tensor, positions: Tensor) -> None:
        """Take a batch in."""
        found = outputs.argmax(1)
        self._totals[0] += F.cross_entropy(outputs, targets, reduction="sum").cpu()
        self._labels[positions] = targets.cpu().double() + 1
        self._predictions[positions] = found.cpu().double() + 1
        self._correct += int((found == targets).sum())
        self._total += len(targets)

    def gather_(self, device: torch.device) -> None:
        """Add those of the other processes."""
        summed = self._totals.to(device)
        torch.distributed.all_reduce(summed)
        self._totals.copy_(summed)

    def note(self) -> str:
        """Counts so far."""
        return f"{self._correct} of {self._total} correct"

    def measured(self) -> Metrics:
        """The counts.

        Raises:
            DataError: There was no image.
        """
        seen = self._labels > 0
        total = int(seen.sum())
        if total == 0:
            raise DataError("The split to evaluate on gave no image. Check the data set's test part.")
        labels, predictions = (each[seen].long() - 1 for each in (self._labels, self._predictions))
        correct = int((labels == predictions).sum())
        return Metrics(correct, total, float(self._totals[0]) / total, labels, predictions)


@dataclass(frozen=True)
class Classification:
    """One score per class, (N, num_classes), and one label per image, (N,)."""

    def checked(self, outputs: Any, images: Tensor, targets: Tensor, name: str) -> Tensor:
        """Scores in float32; see `class_scores`."""
        return class_scores(outputs, images, targets, name)

    def loss(self, outputs: Tensor, targets: Tensor, config: TrainConfig) -> Tensor:
        """Mean cross-entropy in nats, with `config.label_smoothing`."""
        return F.cross_entropy(outputs, targets, label_smoothing=config.label_smoothing)

    def hits(self, outputs: Tensor, targets: Tensor) -> int:
        """Images whose highest score is their label."""
        return int((outputs.argmax(1) == targets).sum())

    def judge(self, split: ImageSplit) -> AccuracyJudge:
        """A judge that notes every image."""
        return AccuracyJudge(len(split))

    def guessing(self, source: DataSource) -> float:
        """ln K for K classes."""
        return math.log(max(source.num_classes, 2))
