"""Classification: one label per image, cross-entropy, accuracy counted exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
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
    """Result of an evaluation: `correct` of `total` images, mean cross-entropy `loss` in nats."""

    correct: int
    total: int
    loss: float

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
    """Counts images whose highest score is their label."""

    def __init__(self) -> None:
        self.totals = torch.zeros(3, dtype=torch.float64)  # correct, images, summed loss

    def add_(self, outputs: Tensor, targets: Tensor) -> None:
        """Take a batch in."""
        self.totals[0] += (outputs.argmax(1) == targets).sum().cpu()
        self.totals[1] += len(targets)
        self.totals[2] += F.cross_entropy(outputs, targets, reduction="sum").cpu()

    def note(self) -> str:
        """Counts so far."""
        return f"{int(self.totals[0])} of {int(self.totals[1])} correct"

    def measured(self) -> Metrics:
        """The counts.

        Raises:
            DataError: There was no image.
        """
        correct, total, loss = self.totals.tolist()
        if total == 0:
            raise DataError("The split to evaluate on gave no image. Check the data set's test part.")
        return Metrics(correct=int(correct), total=int(total), loss=loss / total)


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
        """A judge that counts."""
        return AccuracyJudge()

    def guessing(self, source: DataSource) -> float:
        """ln K for K classes."""
        return math.log(max(source.num_classes, 2))
