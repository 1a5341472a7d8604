"""The images that step `search` judges candidates on: out of the training set, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from convslim.data import DataSource, ImageSplit
from convslim.errors import DataError
from convslim.pipeline.steps.search_measure import measure_of
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
        DataError: No training images are left for the statistics, or images with boxes hold no object that counts.
    """
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
    measure = measure_of(chosen)
    images, targets = _held(chosen, batch_size)
    size = min(batch_size, len(rest))
    passed = rest.batches(size, seed=seed, limit=num_batches * size, drop_last=True)
    calibration = [batch for batch, _ in islice(passed, num_batches)]
    return Judging(JudgingImages(calibration, images, targets, batch_size, measure), source.holdout is not None)


def _held(split: ImageSplit, batch_size: int) -> tuple[Tensor, Tensor | list[Any]]:
    """All images of a split with their targets, in memory."""
    images, targets = zip(*split.batches(batch_size), strict=True)
    labeled = isinstance(targets[0], Tensor)
    return torch.cat(images), torch.cat(targets) if labeled else [each for batch in targets for each in batch]
