"""The records that the rest of convslim sees of a data set: `DataSource`, its `Split`s and their batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol, Self

import torch
from torch import Tensor

from convslim.data.augment import Augmentation, center_crop, cutout, draw, random_crop, random_flip
from convslim.data.order import AUGMENT, generator, global_batches, stratified_split
from convslim.errors import DataError

Batch = tuple[Tensor, Tensor]
TaskName = Literal["classification", "detection"]


class SplitBatches(Protocol):
    """The batches of one pass over a split, for one process: images (n, C, H, W), and n targets."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[Tensor, Any]]: ...


class ImageSplit(Protocol):
    """Images with targets: what training, calibration and evaluation ask of a part of a data set.

    `task` says what the targets are: labels, or the objects in the images. What `batches` takes and promises stands at
    `Split.batches`.
    """

    @property
    def task(self) -> TaskName:
        """What a network is to tell of these images."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""

    @property
    def mean(self) -> tuple[float, ...]:
        """Per channel, of images in [0, 1]."""

    @property
    def std(self) -> tuple[float, ...]:
        """Per channel, of images in [0, 1]."""

    @property
    def augmentation(self) -> Any:
        """What `batches(augment=True)` does, a frozen dataclass."""

    @property
    def labels(self) -> Tensor | None:
        """int64 (N,), or None where images have no label, or it is known only after the image was read."""

    def __len__(self) -> int: ...

    def subset(self, rows: Tensor) -> Self:
        """The images at positions `rows`, as a split of its own."""

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
    ) -> SplitBatches:
        """All images once, in batches."""


class Reader(Protocol):
    """Where the images of a split come from: rows in, images and labels out."""

    @property
    def labels(self) -> Tensor | None:
        """int64 (N,), or None where a label is known only after its image was read."""

    def __len__(self) -> int: ...

    def read(self, batches: Sequence[Tensor], seed: int) -> Iterator[Batch]:
        """Yield (images, labels) for every tensor of row numbers in `batches`.

        Images are uint8 (N, C, H, W), or float where they come ready normalized. `seed` is for readers that
        run random code of the user.
        """


@dataclass(frozen=True, eq=False)
class TensorReader:
    """Images that live in memory: uint8 (N, C, H, W) and int64 labels (N,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def read(self, batches: Sequence[Tensor], seed: int) -> Iterator[Batch]:
        """Yield the rows of each batch."""
        for rows in batches:
            yield self.images[rows], self.labels[rows]


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set: training, test or held-out images.

    Args:
        reader: where images and labels come from.
        rows: int64 (N,), the rows of the reader that belong to this split.
        input_shape: (C, H, W) of the images it gives; larger images of the reader are cropped.
        mean, std: per channel, for images scaled to [0, 1]: x ↦ (x / 255 - mean) / std.
        augmentation: what `batches(augment=True)` does.
    """

    task: ClassVar[TaskName] = "classification"
    reader: Reader
    rows: Tensor
    input_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> Tensor | None:
        """int64 (N,) in the order of the split, or None where the reader does not know them beforehand."""
        labels = self.reader.labels
        return None if labels is None else labels[self.rows]

    def subset(self, rows: Tensor) -> Split:
        """The images at positions `rows` of this split, as a split of its own."""
        return replace(self, rows=self.rows[rows])

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
    ) -> Batches:
        """All images once, in batches; `len()` of the result is the number of batches.

        The order and the augmentation are pure functions of (seed, epoch), whatever the number of processes.

        Args:
            batch_size: images in one batch *of all processes together*; a process gets
                `batch_size / world_size` of them.
            seed: shuffles; None keeps the order of the data set (evaluation).
            epoch: number of the pass over the data.
            augment: crops, flips and cuts by `self.augmentation`; needs a seed.
            rank, world_size: this process and their number. Shuffled batches are cut to a multiple of
                `world_size`, so that all processes do equally many equal steps; unshuffled ones lose nothing.
            limit: only the first `limit` images of the order.
            drop_last: leaves out a last batch that is not full.

        Returns:
            An iterable of (images, labels): float32 (n, C, H, W) normalized, int64 (n,).

        Raises:
            DataError: an argument is out of its range.

        >>> from convslim.data import open_data
        >>> batches = open_data("digits").train.batches(128, seed=0, epoch=3, augment=True)
        >>> images, labels = next(iter(batches))
        >>> tuple(images.shape), images.dtype, labels.dtype, len(batches)
        ((128, 1, 8, 8), torch.float32, torch.int64, 12)
        """
        if not 0 <= rank < world_size:
            raise DataError(f"rank is {rank} of {world_size} processes; ranks go from 0 to {world_size - 1}.")
        if augment and seed is None:
            raise DataError("augment=True draws random numbers and needs a seed: batches(…, seed=0, augment=True).")
        whole = global_batches(len(self), batch_size, seed=seed, epoch=epoch, limit=limit, drop_last=drop_last)
        if seed is not None:
            whole = [rows[: len(rows) // world_size * world_size] for rows in whole]
        shares = [(number, rows) for number, rows in enumerate(whole) if len(rows) > rank]
        return Batches(self, tuple(shares), seed or 0, epoch, augment, rank, world_size)


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of one pass over a split, for one process. Made by `Split.batches`."""

    split: Split
    shares: tuple[tuple[int, Tensor], ...]
    seed: int
    epoch: int
    augment: bool
    rank: int
    world_size: int

    def __len__(self) -> int:
        return len(self.shares)

    def __iter__(self) -> Iterator[Batch]:
        mine = slice(self.rank, None, self.world_size)
        rows = [self.split.rows[whole[mine]] for _, whole in self.shares]
        read = self.split.reader.read(rows, self.seed * 1_000_003 + self.epoch)
        for (number, whole), (images, labels) in zip(self.shares, read, strict=True):
            yield self._prepare(images, number, len(whole)), labels

    def _prepare(self, images: Tensor, number: int, whole: int) -> Tensor:
        """Crop, augment and normalize images (n, C, H, W) of batch `number`, which counts `whole` images."""
        _, height, width = self.split.input_shape
        augmentation = self.split.augmentation
        if not self.augment:
            return self._normalize(center_crop(images, (height, width)))
        draws = draw(whole, generator(self.seed, AUGMENT, self.epoch, number))
        draws = draws.rows(slice(self.rank, None, self.world_size))
        images = random_crop(images, (height, width), augmentation.padding, draws)
        if augmentation.flip:
            images = random_flip(images, draws)
        images = self._normalize(images)
        return cutout(images, augmentation.cutout, draws) if augmentation.cutout else images

    def _normalize(self, images: Tensor) -> Tensor:
        if images.dtype != torch.uint8:
            return images.float().contiguous()
        mean = torch.tensor(self.split.mean)[:, None, None]
        std = torch.tensor(self.split.std)[:, None, None]
        return images.float().div_(255).sub_(mean).div_(std)


@dataclass(frozen=True, eq=False)
class DataSource:
    """A data set: training and test images, and the names of its classes.

    Args:
        name: short name for reports.
        train: training images, without those held out.
        test: test images: for the final numbers only, never for scores or searches.
        classes: names, by label.
        holdout: images held out of the training set for scores and searches, or None.
        notes: what was odd in the files, for people.
    """

    name: str
    train: ImageSplit
    test: ImageSplit
    classes: tuple[str, ...]
    holdout: ImageSplit | None = None
    notes: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes; labels go from 0 to `num_classes - 1`."""
        return len(self.classes)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return self.train.input_shape

    @property
    def mean(self) -> tuple[float, ...]:
        """Per channel, of images in [0, 1]."""
        return self.train.mean

    @property
    def std(self) -> tuple[float, ...]:
        """Per channel, of images in [0, 1]."""
        return self.train.std

    def example_input(self, batch: int = 1) -> Tensor:
        """The first `batch` training images, float32 (batch, C, H, W), normalized."""
        images, _ = next(iter(self.train.batches(batch, limit=batch)))
        return images

    def hold_out(self, amount: float | int, *, seed: int = 0) -> DataSource:
        """The same data with part of the training images moved to `holdout`, of every class alike.

        Args:
            amount: a float in (0, 1) is a share of the training images, an int a count.
            seed: another seed is another split.

        Raises:
            DataError: `amount` takes nothing or everything.
        """
        labels = self.train.labels
        by_class = torch.zeros(len(self.train), dtype=torch.int64) if labels is None else labels
        stay, held = stratified_split(by_class, amount, seed=seed)
        return replace(self, train=self.train.subset(stay), holdout=self.train.subset(held))
