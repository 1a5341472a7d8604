"""Image folders: one subfolder per class, decoded by Pillow while they are read.

root/train/CLASS/*.jpg   root/val/CLASS/*.jpg        (also test/, valid/ or validation/)
root/CLASS/*.jpg                                     (split here, seeded and stratified)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from convslim.data.augment import Augmentation
from convslim.data.order import stratified_split
from convslim.data.source import Batch, DataSource, Reader, Split, TensorReader
from convslim.data.workers import in_workers
from convslim.errors import DataError, nearest

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
_TEST_FOLDERS = ("val", "test", "valid", "validation")
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Decoding:
    """How a file becomes pixels: the middle square, scaled to `side` × `side`, with 1 or 3 `channels`."""

    side: int
    channels: int
    interpolation: Literal["bilinear", "bicubic"]

    def decode(self, path: Path) -> Tensor:
        """Decode one image to uint8 (channels, side, side).

        Raises:
            DataError: Pillow cannot decode the file, or it is cut off.
        """
        with opened(path) as file:
            image = ImageOps.exif_transpose(_plain(file)).convert("L" if self.channels == 1 else "RGB")
        square = ImageOps.fit(image, (self.side, self.side), method=_FILTERS[self.interpolation])
        pixels = np.array(square, dtype=np.uint8).reshape(self.side, self.side, self.channels)
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """An image file, to be decoded inside.

    Raises:
        DataError: Pillow cannot decode the file, or it is cut off; names it.
    """
    try:
        with Image.open(path) as file:
            yield file
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as failure:
        raise DataError(
            f"image {path} cannot be decoded: {type(failure).__name__}: {failure}. Repair or remove it."
        ) from failure


def _plain(image: Image.Image) -> Image.Image:
    """Make plain what Pillow would clip (16-bit gray) or warn about (palette with alpha)."""
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image


@dataclass(frozen=True, eq=False)
class FolderReader:
    """Decodes files when they are read, in `workers` processes beside the main one."""

    files: tuple[Path, ...]
    labels: Tensor
    decoding: Decoding
    workers: int

    def __len__(self) -> int:
        return len(self.files)

    def read(self, batches: Sequence[Tensor], seed: int) -> Iterator[Batch]:
        """Yield uint8 images and labels of each batch.

        Raises:
            DataError: an image cannot be decoded; the message names it.
        """
        decode = partial(_decoded, self.files, self.decoding)
        loaded = in_workers(decode, [rows.tolist() for rows in batches], self.workers)
        for rows, images in zip(batches, loaded, strict=True):
            yield images, self.labels[rows]


def _decoded(files: tuple[Path, ...], decoding: Decoding, rows: list[int]) -> Tensor:
    return torch.stack([decoding.decode(files[row]) for row in rows])


def open_image_folder(
    path: str,
    *,
    size: int = 224,
    resize: int | None = None,
    channels: int = 3,
    interpolation: Literal["bilinear", "bicubic"] = "bilinear",
    test_share: float = 0.2,
    split_seed: int = 0,
    workers: int = 2,
    in_memory: bool = False,
) -> DataSource:
    """Open a folder of images, one subfolder per class; classes are numbered in the order of their sorted
    names.

    Args:
        path: folder with `train/` and `val/` (or `test/`, …), or directly with one subfolder per class.
        size: height and width of the images given, in pixels.
        resize: length of the short side before the middle (training with augmentation: a random place) of
            `size` × `size` is cut out; by default `size` · 256 / 224.
        channels: 3, or 1 for gray. Images of any kind are converted.
        interpolation: "bilinear" or "bicubic".
        test_share: without `val/`: the share of every class that becomes the test set.
        split_seed: without `val/`: another seed is another split.
        workers: processes that decode; 0 decodes in the main process.
        in_memory: decode everything once and keep it (3 · resize² bytes an image).

    Raises:
        DataError: no folder, class or image is there, or an option is out of its range.
    """
    if channels not in (1, 3):
        raise DataError(f"imagefolder: channels is {channels}; it must be 1 (gray) or 3 (RGB).")
    if interpolation not in _FILTERS:
        raise DataError(f"imagefolder: interpolation is '{interpolation}'; it must be one of {', '.join(_FILTERS)}.")
    side = round(size * 256 / 224) if resize is None else resize
    if not 0 < size <= side:
        raise DataError(f"imagefolder: size is {size} and resize {side}; they must be 0 < size ≤ resize.")
    decoding = Decoding(side, channels, interpolation)
    root = Path(path).expanduser()
    train_files, test_files, classes = _list_parts(root)

    def reader(files: list[tuple[Path, int]]) -> Reader:
        labels = torch.tensor([label for _, label in files], dtype=torch.int64)
        lazy = FolderReader(tuple(file for file, _ in files), labels, decoding, workers)
        return _load(lazy) if in_memory else lazy

    train_reader = reader(train_files)
    if test_files:
        test_reader = reader(test_files)
        train_rows, test_rows = torch.arange(len(train_reader)), torch.arange(len(test_reader))
    else:
        test_reader = train_reader
        assert train_reader.labels is not None, "folders know their labels"
        train_rows, test_rows = stratified_split(train_reader.labels, float(test_share), seed=split_seed)
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,), (0.25,))
    shape = (channels, size, size)
    train = Split(train_reader, train_rows, shape, mean, std, Augmentation(flip=True))
    test = Split(test_reader, test_rows, shape, mean, std, Augmentation())
    return DataSource(root.resolve().name, train, test, classes)


def _list_parts(root: Path) -> tuple[list[tuple[Path, int]], list[tuple[Path, int]], tuple[str, ...]]:
    """(file, label) of training and test images – of test none where the folder is flat – and the classes."""
    if not root.is_dir():
        raise DataError(f"imagefolder: there is no folder {root.resolve()}.")
    if not (root / "train").is_dir():
        classes = _classes(root)
        return _list_files(root, classes), [], classes
    tests = [root / name for name in _TEST_FOLDERS if (root / name).is_dir()]
    if not tests:
        raise DataError(
            f"imagefolder: {root} has train/ but none of {', '.join(_TEST_FOLDERS)}. Add one, or give "
            "the folder train/ itself to have it split."
        )
    classes = _classes(root / "train")
    unknown = sorted(set(_classes(tests[0])) - set(classes))
    if unknown:
        raise DataError(
            f"imagefolder: {tests[0]} has the class '{unknown[0]}', which {root / 'train'} does not have."
            f"{nearest(unknown[0], classes)}"
        )
    return _list_files(root / "train", classes), _list_files(tests[0], _classes(tests[0]), classes), classes


def _classes(folder: Path) -> tuple[str, ...]:
    """Names of the class folders, sorted."""
    names = tuple(sorted(item.name for item in folder.iterdir() if item.is_dir() and item.name[0] != "."))
    if not names:
        raise DataError(f"imagefolder: {folder} is empty; it must hold one subfolder of images per class.")
    return names


def _list_files(folder: Path, present: tuple[str, ...], classes: tuple[str, ...] = ()) -> list[tuple[Path, int]]:
    """(file, label) of all images below the class folders `present`, sorted."""
    listed = []
    for name in present:
        files = sorted(file for file in (folder / name).rglob("*") if file.suffix.lower() in SUFFIXES)
        if not files:
            raise DataError(
                f"imagefolder: {folder / name} has no images (known endings: {' '.join(sorted(SUFFIXES))}). "
                "Add images or remove the folder."
            )
        listed += [(file, (classes or present).index(name)) for file in files]
    return listed


def _load(lazy: FolderReader) -> TensorReader:
    """Decode all images now."""
    batches = list(lazy.read(list(torch.arange(len(lazy)).split(64)), seed=0))
    return TensorReader(torch.cat([images for images, _ in batches]), lazy.labels)
