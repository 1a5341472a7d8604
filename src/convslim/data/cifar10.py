"""CIFAR-10 from the files it is distributed in: the binary layout, the python layout, and lossless WebP
mosaics.

References:
    A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from convslim.data.augment import Augmentation
from convslim.data.batch_pickle import read_batch
from convslim.data.source import DataSource, Split, TensorReader
from convslim.errors import DataError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of the training images, scaled to [0, 1]
IMAGES_PER_FILE = 10_000
_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
_RECORD = 1 + 3072  # one label byte, then three planes of 32×32 pixels

Arrays = tuple[np.ndarray, np.ndarray]


def open_cifar10(path: str = "") -> DataSource:
    """Open CIFAR-10: 50,000 training and 10,000 test images of 3×32×32, 10 classes, kept in memory (184 MB).

    Training images are augmented by a random crop with padding 4 and a horizontal flip.

    Args:
        path: the folder with the files, or one above it. Without it, the folders in `search_folders()`.
            The layout is told by the file names: `data_batch_1.bin` (binary), `data_batch_1` (python, read
            without executing the pickle) or `data_batch_1.webp` with `labels.npz` (mosaics of 100 × 100
            images).

    Raises:
        DataError: no folder has the files, or one of them is missing, truncated or has a label above 9.
    """
    folder, layout = _find(path)
    suffix, read = _LAYOUTS[layout]
    files = [folder / f"{stem}{suffix}" for stem in (*_TRAIN, "test_batch")]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise DataError(f"CIFAR-10 in {folder}: {', '.join(missing)} missing. Copy all six files there.")
    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(read, files))
    for file, (images, labels) in zip(files, parts, strict=True):
        _check(file, images, labels)
    train, test = _reader(parts[:-1]), _reader(parts[-1:])
    augmentation = Augmentation(padding=4, flip=True)
    shape = (3, 32, 32)
    return DataSource(
        "cifar10",
        Split(train, torch.arange(len(train)), shape, MEAN, STD, augmentation),
        Split(test, torch.arange(len(test)), shape, MEAN, STD, Augmentation()),
        CLASSES,
    )


def search_folders() -> tuple[Path, ...]:
    """Where data sets are looked for: `$CONVSLIM_DATA`, or `data` and `../shared/data` when it is not set."""
    named = os.environ.get("CONVSLIM_DATA")
    return (Path(named),) if named else (Path("data"), Path("../shared/data"))


def _find(path: str) -> tuple[Path, str]:
    """The folder that has the files, and the layout they are in."""
    roots = (Path(path).expanduser(),) if path else search_folders()
    inside = ("", "cifar10", "cifar-10-batches-bin", "cifar-10-batches-py")
    for folder in [root / name for root in roots for name in inside]:
        for layout, (suffix, _) in _LAYOUTS.items():
            if (folder / f"data_batch_1{suffix}").is_file():
                return folder, layout
    raise DataError(
        f"CIFAR-10 was not found in {', '.join(str(root.resolve()) for root in roots)} (nor below, in "
        f"{', '.join(inside[1:])}). Get 'CIFAR-10 binary version' or 'python version' from "
        "https://www.cs.toronto.edu/~kriz/cifar.html, unpack it, and give its folder as cifar10:/path or in "
        "the environment variable CONVSLIM_DATA."
    )


def _read_binary(file: Path) -> Arrays:
    content = np.fromfile(file, dtype=np.uint8)
    if len(content) % _RECORD:
        raise DataError(
            f"{file} has {len(content):,} bytes, which is no multiple of {_RECORD:,} (a label byte and 3,072 "
            "pixels): it is truncated or not of the binary layout. Get it again."
        )
    records = content.reshape(-1, _RECORD)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64)


def _read_python(file: Path) -> Arrays:
    images, labels = read_batch(file)
    return images.reshape(-1, 3, 32, 32), labels


def _read_mosaic(file: Path) -> Arrays:
    side = math.isqrt(IMAGES_PER_FILE)
    try:
        mosaic = np.asarray(Image.open(file).convert("RGB"))
        with np.load(file.with_name("labels.npz"), allow_pickle=False) as archive:
            labels = archive[file.stem]
    except (OSError, KeyError, ValueError) as failure:
        raise DataError(f"{file} or labels.npz beside it cannot be read: {failure}. Get them again.") from failure
    if mosaic.shape != (side * 32, side * 32, 3):
        raise DataError(f"{file} is {mosaic.shape[1]}×{mosaic.shape[0]} pixels; a mosaic is {side * 32} square.")
    grid = mosaic.reshape(side, 32, side, 32, 3).transpose(0, 2, 4, 1, 3)
    return grid.reshape(-1, 3, 32, 32), labels.astype(np.int64)


_LAYOUTS: dict[str, tuple[str, Callable[[Path], Arrays]]] = {
    "binary": (".bin", _read_binary),
    "python": ("", _read_python),
    "mosaic": (".webp", _read_mosaic),
}


def _check(file: Path, images: np.ndarray, labels: np.ndarray) -> None:
    if not len(images) == len(labels) == IMAGES_PER_FILE:
        raise DataError(
            f"{file} has {len(images):,} images and {len(labels):,} labels; a CIFAR-10 file has "
            f"{IMAGES_PER_FILE:,} of both. It is truncated: get it again."
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= len(CLASSES)))
    if len(wrong):
        raise DataError(
            f"{file}: image {wrong[0]} has label {labels[wrong[0]]}; CIFAR-10 has labels 0 to 9. "
            "The file is damaged or of another data set (CIFAR-100?)."
        )


def _reader(parts: list[Arrays]) -> TensorReader:
    images = np.concatenate([part[0] for part in parts])
    labels = np.concatenate([part[1] for part in parts])
    return TensorReader(torch.from_numpy(images), torch.from_numpy(labels))
