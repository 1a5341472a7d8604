"""Detection sets: batches of images with their objects, for training and evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from convslim.data.detection_views import DetectionAugmentation, training_view, whole_view
from convslim.data.imagefolder import IMAGENET_MEAN, IMAGENET_STD
from convslim.data.objects import Objects
from convslim.data.order import AUGMENT, generator, global_batches
from convslim.data.voc import AnnotatedImage, AnnotatedImages
from convslim.data.workers import in_workers
from convslim.errors import DataError

DetectionBatch = tuple[Tensor, list[Objects]]
SIDES = 3  # purpose of a stream of random numbers, beside those of convslim.data.order
CELL = 32  # pixels; the coarsest cell of a detector


@dataclass(frozen=True)
class _Wish:
    """One image of a batch: its number, that of the image it may be mixed with, its side, and where to draw from."""

    row: int
    other: int
    side: int
    seed: tuple[int, ...]


@dataclass(frozen=True)
class DetectionSplit:
    """Annotated images as a network sees them.

    Attributes:
        annotated: The images.
        side: Height and width of what the network gets, a multiple of 32.
        mean, std: Per channel, for images scaled to [0, 1]: x ↦ (x / 255 - mean) / std.
        workers: Processes that decode; 0 decodes in the main process.
    """

    annotated: AnnotatedImages
    side: int = 512
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    workers: int = 2

    def __post_init__(self) -> None:
        _check_side("side", self.side)

    def __len__(self) -> int:
        return len(self.annotated)

    def whole(self, batch_size: int, *, limit: int | None = None) -> Iterator[DetectionBatch]:
        """All images once, in order and whole: float32 (n, 3, side, side) and the objects in its pixels.

        Raises:
            DataError: An image cannot be decoded or is not of its annotation's size; names it.
        """
        batches = global_batches(len(self), batch_size, limit=limit)
        yield from self._read([[_Wish(row, row, self.side, ()) for row in rows.tolist()] for rows in batches], None)

    def views(
        self,
        batch_size: int,
        *,
        seed: int,
        epoch: int,
        augmentation: DetectionAugmentation | None = None,
        sides: Sequence[int] = (),
        rank: int = 0,
        world_size: int = 1,
        limit: int | None = None,
    ) -> Iterator[DetectionBatch]:
        """Random views of all images once, in random order; a last batch that is not full is left out.

        What comes is a pure function of (seed, epoch), whatever the number of workers and processes.

        Args:
            batch_size: Images of one batch of all processes together.
            seed, epoch: See above.
            augmentation: What views are random in; the defaults if not given.
            sides: Each batch has one of these sides instead of `side` (multi-scale training).
            rank, world_size: This process and their number; each gets an equal share of a batch.
            limit: Only the first `limit` images of the order.

        Raises:
            DataError: As for :meth:`whole`, or an argument is out of its range.
        """
        for side in sides:
            _check_side("sides", side)
        if batch_size % world_size:
            raise DataError(f"batch_size {batch_size} cannot be shared equally by {world_size} processes.")
        batches = global_batches(len(self), batch_size, seed=seed, epoch=epoch, limit=limit, drop_last=True)
        if not batches:
            raise DataError(f"There are {len(self)} images, fewer than the batch_size of {batch_size}. Lower it.")
        draw = generator(seed, SIDES, epoch)
        chosen = [
            list(sides or [self.side])[int(torch.randint(len(sides or [0]), (1,), generator=draw))] for _ in batches
        ]
        partners = torch.randint(len(self), (len(batches), batch_size), generator=draw)
        wishes = [
            [
                _Wish(row, int(partners[number, place]), chosen[number], (seed, AUGMENT, epoch, row))
                for place, row in enumerate(rows.tolist())
            ][rank::world_size]
            for number, rows in enumerate(batches)
        ]
        yield from self._read(wishes, augmentation or DetectionAugmentation())

    def _read(self, wishes: list[list[_Wish]], augmentation: DetectionAugmentation | None) -> Iterator[DetectionBatch]:
        mean, std = (torch.tensor(values)[:, None, None] * 255 for values in (self.mean, self.std))
        for images, objects in in_workers(_Views(self.annotated.images, augmentation), wishes, self.workers):
            yield (images.float() - mean) / std, objects


@dataclass(frozen=True)
class _Views:
    """Makes batches of views: whole images without an augmentation."""

    images: tuple[AnnotatedImage, ...]
    augmentation: DetectionAugmentation | None

    def __call__(self, wishes: list[_Wish]) -> DetectionBatch:
        found = [self._one(wish) for wish in wishes]
        return torch.stack([image for image, _ in found]), [objects for _, objects in found]

    def _one(self, wish: _Wish) -> tuple[Tensor, Objects]:
        if self.augmentation is None:
            return whole_view(self.images[wish.row], wish.side)
        random = np.random.default_rng(np.random.SeedSequence(wish.seed))
        return training_view(self.images[wish.row], self.images[wish.other], wish.side, self.augmentation, random)


def _check_side(name: str, side: int) -> None:
    if side < CELL or side % CELL:
        raise DataError(f"{name}: {side} pixels; a multiple of {CELL}, the network's coarsest cell, is needed.")
