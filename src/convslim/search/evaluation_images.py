"""The images that candidates are judged on: out of the training set, held in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from convslim.errors import DataError
from convslim.search.evaluation_measure import Labels, Measure


@dataclass(frozen=True, eq=False)
class JudgingImages:
    """What every candidate is shown. None of it may be a test image, and no image should be in both parts.

    Attributes:
        calibration: Batches of images, each (N, C, H, W), on which BatchNorm statistics are estimated; labels are not
            needed. A statistic is the plain average over batches, so batches should be of one size.
        images: The images that count, (N, C, H, W).
        targets: What is in each of them, as `measure` takes it: classes, (N,), or a sequence of N.
        batch_size: How many of `images` go through the network at once.
        measure: Compares a network's outputs with the targets; labels are counted unless another is given.

    Raises:
        DataError: If a part is empty, or images and targets do not go together.

    >>> JudgingImages([torch.zeros(4, 3, 8, 8)], torch.zeros(6, 3, 8, 8), torch.zeros(6, dtype=torch.long)).num_batches
    1
    """

    calibration: Sequence[Tensor]
    images: Tensor
    targets: Tensor | Sequence[Any]
    batch_size: int = 128
    measure: Measure = field(default_factory=Labels)

    def __post_init__(self) -> None:
        if not self.calibration or any(not len(batch) for batch in self.calibration):
            raise DataError(
                "There is no image to estimate BatchNorm statistics on, or a batch of them is empty. "
                "Give one batch of training images at least."
            )
        shape = tuple(self.targets.shape) if isinstance(self.targets, Tensor) else (len(self.targets),)
        if not len(self.images) or shape != (len(self.images),):
            raise DataError(
                f"{len(self.images)} images to judge on come with targets of shape {shape}. "
                "Give one image at least, and one target for each."
            )
        if self.batch_size < 1:
            raise DataError(f"batch_size is {self.batch_size}; it has to be 1 or more.")

    @property
    def num_batches(self) -> int:
        """Number of batches that `images` make."""
        return math.ceil(len(self.images) / self.batch_size)

    def shuffled(self, seed: int) -> JudgingImages:
        """The same, with `images` in a random order, so that the first ones stand for all of them."""
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(seed))
        return replace(self, images=self.images[order.to(self.images.device)], targets=_taken(self.targets, order))

    def held_as(self, dtype: torch.dtype, layout: torch.memory_format) -> JudgingImages:
        """The same, with every batch in memory as the network takes it."""

        def held(batch: Tensor) -> Tensor:
            return batch.to(dtype=dtype, memory_format=layout if batch.dim() == 4 else torch.preserve_format)

        return replace(self, calibration=[held(batch) for batch in self.calibration], images=held(self.images))

    def batches(self) -> list[tuple[Tensor, Any]]:
        """Images and targets that count, batch by batch; views of what is held."""
        starts = range(0, len(self.images), self.batch_size)
        parts = [slice(start, start + self.batch_size) for start in starts]
        return [(self.images[part], self.targets[part]) for part in parts]


def _taken(targets: Tensor | Sequence[Any], order: Tensor) -> Tensor | Sequence[Any]:
    """The targets in another order."""
    if isinstance(targets, Tensor):
        return targets[order.to(targets.device)]
    return [targets[place] for place in order.tolist()]
