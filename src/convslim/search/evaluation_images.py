"""The images that candidates are judged on: out of the training set, held in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convslim.errors import DataError


@dataclass(frozen=True, eq=False)
class JudgingImages:
    """What every candidate is shown. None of it may be a test image, and no image should be in both parts.

    Attributes:
        calibration: Batches of images, each (N, C, H, W), on which BatchNorm statistics are estimated; labels are not
            needed. A statistic is the plain average over batches, so batches should be of one size.
        images: The images that count, (N, C, H, W).
        labels: Their classes, (N,).
        batch_size: How many of `images` go through the network at once.

    Raises:
        DataError: If a part is empty, or images and labels do not go together.

    >>> JudgingImages([torch.zeros(4, 3, 8, 8)], torch.zeros(6, 3, 8, 8), torch.zeros(6, dtype=torch.long)).num_batches
    1
    """

    calibration: Sequence[Tensor]
    images: Tensor
    labels: Tensor
    batch_size: int = 128

    def __post_init__(self) -> None:
        if not self.calibration or any(not len(batch) for batch in self.calibration):
            raise DataError(
                "There is no image to estimate BatchNorm statistics on, or a batch of them is empty. "
                "Give one batch of training images at least."
            )
        if not len(self.images) or self.labels.shape != (len(self.images),):
            raise DataError(
                f"{len(self.images)} images to judge on come with labels of shape {tuple(self.labels.shape)}. "
                "Give one image at least, and one class number for each."
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
        order = order.to(self.images.device)
        return JudgingImages(
            self.calibration, self.images[order], self.labels[order.to(self.labels.device)], self.batch_size
        )

    def held_as(self, dtype: torch.dtype, layout: torch.memory_format) -> JudgingImages:
        """The same, with every batch in memory as the network takes it."""

        def held(batch: Tensor) -> Tensor:
            return batch.to(dtype=dtype, memory_format=layout if batch.dim() == 4 else torch.preserve_format)

        return JudgingImages(
            [held(batch) for batch in self.calibration], held(self.images), self.labels, self.batch_size
        )

    def batches(self) -> list[tuple[Tensor, Tensor]]:
        """Images and labels that count, batch by batch; views of what is held."""
        return list(zip(self.images.split(self.batch_size), self.labels.split(self.batch_size), strict=True))
