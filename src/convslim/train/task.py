"""What a network is trained for: what a batch costs, and how good the network is. Classification is one task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from convslim.data import DataSource, ImageSplit
from convslim.train.config import TrainConfig


class Measured(Protocol):
    """How good a network is on some images, whatever its task."""

    @property
    def measure(self) -> str:
        """What `value` is, such as `accuracy`."""

    @property
    def value(self) -> float:
        """Between 0 and 1, higher is better."""

    @property
    def total(self) -> int:
        """Number of images."""

    @property
    def loss(self) -> float:
        """Mean loss of an image, without what a training adds."""

    def epoch_fields(self) -> Mapping[str, Any]:
        """The fields of `EpochMetrics` that say this."""

    def record_fields(self) -> Mapping[str, Any]:
        """The fields of a step's record that say this."""


class Judge(Protocol):
    """Compares a network's outputs with the targets of batch after batch."""

    def add_(self, outputs: Any, targets: Any, positions: Tensor) -> None:
        """Take a batch in: n outputs, their targets, and their int64 (n,) places in the split."""

    def gather_(self, device: torch.device) -> None:
        """Take in what the other processes, which share the images, have seen; all of them call it.

        Args:
            device: That of the network, and so of the processes' backend.
        """

    def note(self) -> str:
        """What a progress bar shows."""

    def measured(self) -> Measured:
        """The result over all batches.

        Raises:
            DataError: There was none, or nothing in them to judge by.
        """


class Task(Protocol):
    """What `fit`, `evaluate` and `recalibrate_` ask of a task; one implementation for each kind of targets."""

    def checked(self, outputs: Any, images: Tensor, targets: Any, name: str) -> Any:
        """A network's or a file's outputs for a batch, in float32.

        Args:
            name: What errors call the network.

        Raises:
            ModelError: They are something else than the task needs.
            DataError: The targets do not fit them.
        """

    def loss(self, outputs: Any, targets: Any, config: TrainConfig) -> Tensor:
        """The loss of a batch, a scalar."""

    def hits(self, outputs: Any, targets: Any) -> int | None:
        """How many images of a batch the network has right; None where an image is neither right nor wrong."""

    def judge(self, split: ImageSplit) -> Judge:
        """A judge of a split's images that has seen none yet."""

    def guessing(self, source: DataSource) -> float:
        """The loss of a network that guesses: far above it a training has diverged."""
