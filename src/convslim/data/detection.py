"""Detection sets: batches of images with their objects, for training and evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from convslim.data.annotated import AnnotatedImage, AnnotatedImages
from convslim.data.detection_views import DetectionAugmentation, training_view, whole_view
from convslim.data.heads import Heads
from convslim.data.imagefolder import IMAGENET_MEAN, IMAGENET_STD
from convslim.data.objects import Objects
from convslim.data.order import AUGMENT, generator, global_batches
from convslim.data.source import TaskName
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
        augmentation: What `batches(augment=True)` does.
        sides: Its batches have one of these sides each instead of `side` (multi-scale training).
        coco: An evaluation has the averages of the COCO challenge, too.
        heads: What a detector's outputs mean; None for the detector that comes with convslim.
    """

    task: ClassVar[TaskName] = "detection"
    annotated: AnnotatedImages
    side: int = 512
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    workers: int = 2
    augmentation: DetectionAugmentation = field(default_factory=DetectionAugmentation)
    sides: tuple[int, ...] = ()
    coco: bool = False
    heads: Heads | None = None

    def __post_init__(self) -> None:
        for name, side in (("side", self.side), *(("sides", side) for side in self.sides)):
            if side < CELL or side % CELL:
                raise DataError(f"{name}: {side} pixels; a multiple of {CELL}, the network's coarsest cell, is needed.")

    def __len__(self) -> int:
        return len(self.annotated)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(3, side, side)."""
        return 3, self.side, self.side

    @property
    def labels(self) -> None:
        """An image has objects and no label."""

    def subset(self, rows: Tensor) -> DetectionSplit:
        """The images at positions `rows` of this split, as a split of its own."""
        images = tuple(self.annotated.images[row] for row in rows.tolist())
        return replace(self, annotated=replace(self.annotated, images=images))

    def batches(
        self,
        batch_size: int,
        *,
        seed: int | None = None,
        epoch: int = 0,
        augment: bool = False,
        rank: int = 0,
        world_size: int = 1,
        limit: int | None = None,
        drop_last: bool = False,
    ) -> DetectionBatches:
        """All images once, in batches: whole, or with `augment` in random views.

        What comes is a pure function of (seed, epoch), whatever the number of workers and processes. Arguments are
        those of `Split.batches`.

        Returns:
            An iterable of float32 (n, 3, side, side), normalized, and the objects of every image in its pixels. Making
            it raises `DataError` for an image that cannot be decoded or is not of its annotation's size.

        Raises:
            DataError: An argument is out of its range.
        """
        if not 0 <= rank < world_size:
            raise DataError(f"rank is {rank} of {world_size} processes; ranks go from 0 to {world_size - 1}.")
        if augment and seed is None:
            raise DataError("augment=True draws random numbers and needs a seed: batches(…, seed=0, augment=True).")
        whole = global_batches(len(self), batch_size, seed=seed, epoch=epoch, limit=limit, drop_last=drop_last)
        if seed is not None:
            whole = [rows[: len(rows) // world_size * world_size] for rows in whole]
        wishes = self._random(whole, seed, epoch) if augment and seed is not None else self._plain(whole)
        shares = [wish[rank::world_size] for wish in wishes]
        return DetectionBatches(self, tuple(share for share in shares if share), augment)

    def _plain(self, batches: Sequence[Tensor]) -> list[list[_Wish]]:
        return [[_Wish(row, row, self.side, ()) for row in rows.tolist()] for rows in batches]

    def _random(self, batches: Sequence[Tensor], seed: int, epoch: int) -> list[list[_Wish]]:
        draw = generator(seed, SIDES, epoch)
        sides = self.sides or (self.side,)
        chosen = [sides[int(torch.randint(len(sides), (1,), generator=draw))] for _ in batches]
        partners = [torch.randint(len(self), (len(rows),), generator=draw).tolist() for rows in batches]
        return [
            [
                _Wish(row, other, side, (seed, AUGMENT, epoch, row))
                for row, other in zip(rows.tolist(), others, strict=True)
            ]
            for rows, others, side in zip(batches, partners, chosen, strict=True)
        ]


@dataclass(frozen=True)
class DetectionBatches:
    """The batches of one pass, for one process. Made by `DetectionSplit.batches`."""

    split: DetectionSplit
    wishes: tuple[list[_Wish], ...]
    augment: bool

    def __len__(self) -> int:
        return len(self.wishes)

    def __iter__(self) -> Iterator[DetectionBatch]:
        split = self.split
        mean, std = (torch.tensor(values)[:, None, None] * 255 for values in (split.mean, split.std))
        views = _Views(split.annotated.images, split.augmentation if self.augment else None)
        for images, objects in in_workers(views, self.wishes, split.workers):
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
