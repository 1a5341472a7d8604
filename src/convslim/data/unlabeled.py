"""Images without labels: whatever lies in a folder, at any depth, as one split for calibration.

What is wrong or unusual is counted and named, never silently used: files that cannot be decoded, gray-scale pictures
for a network that takes colors, CMYK, transparency, rotation.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from PIL import Image
from torch import Tensor

from convslim.data.augment import Augmentation
from convslim.data.imagefolder import SUFFIXES, Decoding
from convslim.data.order import SHUFFLE, generator
from convslim.data.source import Batch, Split
from convslim.errors import DataError

Bad = Literal["skip", "refuse"]
Gray = Literal["convert", "skip", "refuse"]

_GRAY_MODES = frozenset({"1", "L", "LA", "La", "I", "F"})
_ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_CHUNK = 64


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes what the network takes.

    The middle square is scaled to `side` × `side` pixels, its middle cut out to the height and width of `input_shape`
    (C, H, W), and every channel normalized: x ↦ (x / 255 - mean) / std.

    Raises:
        DataError: the numbers do not fit together.
    """

    input_shape: tuple[int, int, int]
    side: int
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        channels, height, width = self.input_shape
        if channels not in (1, 3):
            raise DataError(f"The network takes {channels} channels; pictures have 1 (gray) or 3 (RGB).")
        if not 0 < min(height, width) <= max(height, width) <= self.side:
            raise DataError(
                f"Pictures scaled to {self.side}×{self.side} pixels have no part of {height}×{width}; the size must "
                "be at least 1 and at most that side."
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != channels or (name == "std" and min(values) <= 0):
                raise DataError(
                    f"{name} is {list(values)}; it must be {channels} numbers, one per channel, and std above 0."
                )


@dataclass(frozen=True, eq=False)
class Unlabeled:
    """Images for calibration, and how they were found.

    Attributes:
        split: The images in use, in random order.
        found: How many there are.
        examined: How many were decoded to get them.
        skipped: Path and reason of every image that was passed over: it cannot be decoded, or is gray-scale.
        gray: Paths of the gray-scale images in use, converted, where the network takes colors.
        unusual: How many of the images in use were CMYK, had transparency (dropped), or were turned as EXIF says.
    """

    split: Split
    found: int
    examined: int
    skipped: tuple[tuple[Path, str], ...] = ()
    gray: tuple[Path, ...] = ()
    unusual: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, eq=False)
class UnlabeledReader:
    """Images in memory, uint8 (N, C, H, W), with -1 for the label of each."""

    images: Tensor

    @property
    def labels(self) -> None:
        """None: there are no labels."""
        return

    def __len__(self) -> int:
        return len(self.images)

    def read(self, batches: Sequence[Tensor], seed: int) -> Iterator[Batch]:
        """Yield the rows of each batch."""
        for rows in batches:
            yield self.images[rows], torch.full((len(rows),), -1)


def image_files(folder: Path) -> list[Path]:
    """All pictures below a folder, told by their endings, sorted by path; hidden files and folders are left out.

    Raises:
        DataError: there is no folder, or no picture in it.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder.resolve()}.")
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "."]
        found += [Path(place, name) for name in names if name[0] != "." and Path(name).suffix.lower() in SUFFIXES]
    if not found:
        raise DataError(
            f"{folder} has no images, neither directly nor below (known endings: {' '.join(sorted(SUFFIXES))})."
        )
    return sorted(found, key=lambda file: file.relative_to(folder).parts)


def read_unlabeled(
    files: Sequence[Path],
    preprocessing: Preprocessing,
    *,
    num_images: int,
    seed: int = 0,
    bad: Bad = "skip",
    gray: Gray = "convert",
    workers: int = 1,
    on_image: Callable[[Path], None] = lambda file: None,
) -> Unlabeled:
    """Decode a random sample of images; those that are skipped are replaced by others, as long as there are some.

    Args:
        files: Pictures, in an order that does not depend on the machine.
        preprocessing: What the network takes.
        num_images: How many to use; fewer if there are not so many.
        seed: Another seed is another sample.
        bad: What happens to files that cannot be decoded.
        gray: What happens to gray-scale pictures (one channel, with or without transparency) if the network takes
            colors: their channel is repeated, or they are skipped or refused. Color files that only look gray are
            not noticed.
        workers: Threads that decode.
        on_image: Called with every file that was examined.

    Raises:
        DataError: an option is wrong, a file is refused, or no image is left.
    """
    for name, value, choices in (("bad", bad, get_args(Bad)), ("gray", gray, get_args(Gray))):
        if value not in choices:
            raise DataError(f"{name} is '{value}'; it must be one of {', '.join(choices)}.")
    if num_images < 1:
        raise DataError(f"num_images is {num_images}; it must be at least 1.")
    order = torch.randperm(len(files), generator=generator(seed, SHUFFLE)).tolist()
    sample = _Sample(preprocessing, bad, gray)
    place = 0
    # A damaged EXIF block or a very large picture makes Pillow warn; the pixels decide.
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("ignore")
        while place < len(order) and len(sample.pixels) < num_images:
            chunk = [files[row] for row in order[place : place + min(_CHUNK, num_images - len(sample.pixels))]]
            for file, picture in zip(chunk, pool.map(sample.decode, chunk), strict=True):
                sample.add_(file, picture)
                on_image(file)
            place += len(chunk)
    if not sample.pixels:
        raise DataError(
            f"None of {len(files)} images can be used. The first: {sample.skipped[0][1]} See what they are, or "
            "give another folder."
        )
    return Unlabeled(
        split=unlabeled_split(torch.stack(sample.pixels), preprocessing),
        found=len(files),
        examined=place,
        skipped=tuple(sample.skipped),
        gray=tuple(sample.gray),
        unusual=tuple(sorted(sample.unusual.items())),
    )


def unlabeled_split(images: Tensor, preprocessing: Preprocessing) -> Split:
    """Images uint8 (N, C, side, side) as a split that cuts and normalizes them."""
    return Split(
        UnlabeledReader(images),
        torch.arange(len(images)),
        preprocessing.input_shape,
        preprocessing.mean,
        preprocessing.std,
        Augmentation(),
    )


@dataclass(frozen=True)
class _Picture:
    """One decoded file: uint8 (C, side, side), and what was special about it."""

    pixels: Tensor
    gray: bool
    unusual: tuple[str, ...]


class _Sample:
    """What has been decoded so far, and what was skipped."""

    def __init__(self, preprocessing: Preprocessing, bad: Bad, gray: Gray) -> None:
        self._colors = preprocessing.input_shape[0] == 3
        self._decoding = Decoding(preprocessing.side, preprocessing.input_shape[0], preprocessing.interpolation)
        self._on_bad, self._on_gray = bad, gray
        self.pixels: list[Tensor] = []
        self.skipped: list[tuple[Path, str]] = []
        self.gray: list[Path] = []
        self.unusual: dict[str, int] = {}

    def decode(self, file: Path) -> _Picture | DataError:
        """Decode one file; an error is a result like others, to be judged in order."""
        try:
            pixels = self._decoding.decode(file)
        except DataError as failure:
            return failure
        with Image.open(file) as image:
            signs = {
                "CMYK": image.mode == "CMYK",
                "transparent": "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"),
                "rotated": image.getexif().get(_ORIENTATION, 1) not in (0, 1),
            }
            is_gray = image.mode in _GRAY_MODES or image.mode.startswith("I;16")
        return _Picture(pixels, is_gray, tuple(name for name, true in signs.items() if true))

    def add_(self, file: Path, picture: _Picture | DataError) -> None:
        """Take a picture into the sample, or skip it, or refuse it."""
        if isinstance(picture, DataError):
            if self._on_bad == "refuse":
                raise picture
            self.skipped.append((file, str(picture)))
            return
        if picture.gray and self._colors:
            if self._on_gray == "refuse":
                raise DataError(
                    f"image {file} is gray-scale, and the network takes colors. Remove it, or have gray-scale images "
                    "converted or skipped."
                )
            if self._on_gray == "skip":
                self.skipped.append((file, f"image {file} is gray-scale."))
                return
            self.gray.append(file)
        self.pixels.append(picture.pixels)
        for name in picture.unusual:
            self.unusual[name] = self.unusual.get(name, 0) + 1
