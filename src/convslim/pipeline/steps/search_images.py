"""The images that step `search` judges candidates on: out of the training set, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from convslim.data import DataSource, ImageSplit
from convslim.errors import DataError
from convslim.search.evaluation_images import JudgingImages


@dataclass(frozen=True, eq=False)
class Judging:
    """Images for candidates, and where they come from.

    Attributes:
        images: What candidates are shown.
        held_out: True if no training of the run sees the images that count.
    """

    images: JudgingImages
    held_out: bool


def judging_images(source: DataSource, *, num_images: int, num_batches: int, batch_size: int, seed: int) -> Judging:
    """Images that count, and others for BatchNorm statistics; none of both is a test image.

    Those that count are the held-out ones of the source (`data.options.holdout`); without, training images drawn at
    random, which the network may have been trained on. Statistics are taken of training images that do not count.

    Raises:
        DataError: The data has no labels, or no training images are left for the statistics.
    """
    if source.train.task != "classification":
        raise DataError(
            f"Step search counts right classes, and {source.name} is data for {source.train.task}. "
            "Use prune or select there."
        )
    generator = torch.Generator().manual_seed(seed)
    if source.holdout is not None:
        rest, counted = source.train, source.holdout
        chosen = counted.subset(torch.randperm(len(counted), generator=generator)[:num_images])
    else:
        order = torch.randperm(len(source.train), generator=generator)
        chosen, rest = source.train.subset(order[:num_images]), source.train.subset(order[num_images:])
    if not len(rest):
        raise DataError(
            f"All {len(source.train)} training images of {source.name} count (num_images: {num_images}), so none is "
            "left for BatchNorm statistics. Lower num_images."
        )
    images, labels = _held(chosen, batch_size)
    size = min(batch_size, len(rest))
    passed = rest.batches(size, seed=seed, limit=num_batches * size, drop_last=True)
    calibration = [batch for batch, _ in islice(passed, num_batches)]
    return Judging(JudgingImages(calibration, images, labels, batch_size), source.holdout is not None)


def _held(split: ImageSplit, batch_size: int) -> tuple[Tensor, Tensor]:
    """All images of a split, in memory."""
    images, labels = zip(*split.batches(batch_size), strict=True)
    return torch.cat(images), torch.cat(labels)
