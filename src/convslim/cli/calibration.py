"""The images of a compression: a folder without labels, or the training images of a known data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import typer
from torch import Tensor, nn

from convslim.cli.preprocessing import Wishes, preprocessing
from convslim.compress import HELD_OUT, images_per_batch
from convslim.data import DataSource, Split, open_data
from convslim.data.imagefolder import FolderReader
from convslim.data.open import OPENERS
from convslim.data.order import SHUFFLE, generator
from convslim.data.unlabeled import Bad, Gray, Preprocessing, Unlabeled, image_files, read_unlabeled
from convslim.errors import DataError
from convslim.train.progress import progress

LEAST = 20
"""Fewer images are refused: not even a share in percent could be told from those held out."""


@dataclass(frozen=True)
class Choice:
    """Which images to take: `--num-images`, `--seed`, `--bad`, `--gray`; and whether to draw no progress."""

    num_images: int
    seed: int
    bad: Bad
    gray: Gray
    quiet: bool


@dataclass(frozen=True, eq=False)
class Calibration:
    """Images without labels, and a labeled test split where the data set has one.

    Attributes:
        notes: What was assumed, and what a better choice would be.
    """

    images: Unlabeled
    test: Split | None
    preparation: str
    notes: list[str]


def calibration(where: str, model: str, network: nn.Module, wishes: Wishes, choice: Choice) -> Calibration:
    """Open a folder or a data set, and take a random sample of its training images.

    Raises:
        DataError: there are no images, fewer than `LEAST` are usable, a file is refused, or it is not known how the
            network wants them.
    """
    kind, colon, _ = where.partition(":")
    if kind == "imagefolder":
        found = _image_folder(where, model, network, wishes, choice)
    elif kind in OPENERS or (colon and not Path(where).is_dir()):
        found = _data_set(where, wishes, choice)
    else:
        found = _folder(Path(where).expanduser(), model, network, wishes, choice)
    usable = len(found.images.split)
    if usable < LEAST:
        raise DataError(
            f"{where} has {usable} usable images of {found.images.found}; at least {LEAST} are needed, and some "
            "hundred make a good result."
        )
    return found


def _folder(folder: Path, model: str, network: nn.Module, wishes: Wishes, choice: Choice) -> Calibration:
    files = image_files(folder)
    prepared, notes = preprocessing(model, network, wishes)
    if (folder / "train").is_dir() and any((folder / name).is_dir() for name in ("val", "test", "valid")):
        notes.append(
            f"{folder} has training and test images, and both are used. Write imagefolder:{folder} to use the training "
            "images only, and to measure accuracy on the others."
        )
    return Calibration(_read(files, prepared, choice), None, _words(prepared), notes)


def _image_folder(where: str, model: str, network: nn.Module, wishes: Wishes, choice: Choice) -> Calibration:
    """Training images are read like those of any folder, so that broken ones can be skipped; test images as ever."""
    prepared, notes = preprocessing(model, network, wishes)
    channels, height, width = prepared.input_shape
    if height != width:
        raise DataError(f"{where}: image folders with labels are cut to squares, not to {height}×{width}.")
    options: dict[str, Any] = {"resize": prepared.side, "channels": channels, "interpolation": prepared.interpolation}
    source = open_data(where, size=height, mean=prepared.mean, std=prepared.std, **options)
    train, test = _labeled(source)
    reader = train.reader
    assert isinstance(reader, FolderReader), "image folders are read from files"
    files = [reader.files[row] for row in train.rows.tolist()]
    return Calibration(_read(files, prepared, choice), test, _words(prepared), notes)


def _data_set(where: str, wishes: Wishes, choice: Choice) -> Calibration:
    if (wishes.shape, wishes.resize, wishes.crop) != (None, None, None):
        raise typer.BadParameter(f"--size, --resize and --crop are for folders of images; '{where}' has its own size.")
    source = open_data(where, mean=wishes.mean, std=wishes.std)
    train, test = _labeled(source)
    order = torch.randperm(len(train), generator=generator(choice.seed, SHUFFLE))
    used = train.subset(order[: choice.num_images])
    words = f"{_size(source)} as the data set gives them, {_normalized(source.mean, source.std)}"
    return Calibration(Unlabeled(used, len(train), len(used)), test, words, [])


def _labeled(source: DataSource) -> tuple[Split, Split]:
    """Training and test images of a data set whose images have labels.

    Raises:
        DataError: they have objects instead.
    """
    if not isinstance(source.train, Split) or not isinstance(source.test, Split):
        raise DataError(
            f"The images of '{source.name}' have boxes; accuracy is measured on labels. Give their folder instead: it "
            "is used as images without labels."
        )
    return source.train, source.test


def _read(files: list[Path], prepared: Preprocessing, choice: Choice) -> Unlabeled:
    with progress("read images", min(len(files), choice.num_images), quiet=choice.quiet) as advance:
        return read_unlabeled(
            files,
            prepared,
            num_images=choice.num_images,
            seed=choice.seed,
            bad=choice.bad,
            gray=choice.gray,
            workers=torch.get_num_threads(),
            on_image=lambda file: advance(""),
        )


def batches(split: Split) -> list[Tensor]:
    """The images of a split in batches of nearly equal size, so many that every `HELD_OUT`-th is held out."""
    number = HELD_OUT * max(1, -(-len(split) // (HELD_OUT * images_per_batch(split.input_shape))))
    parts = [rows for rows in torch.arange(len(split)).tensor_split(number) if len(rows)]
    return [next(iter(split.subset(rows).batches(len(rows))))[0] for rows in parts]


def _words(prepared: Preprocessing) -> str:
    channels, height, width = prepared.input_shape
    return (
        f"middle square scaled to {prepared.side} pixels ({prepared.interpolation}), {channels}×{height}×{width} cut "
        f"out, {_normalized(prepared.mean, prepared.std)}"
    )


def _size(source: DataSource) -> str:
    return "×".join(map(str, source.input_shape))


def _normalized(mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    return f"mean {' '.join(f'{value:g}' for value in mean)}, std {' '.join(f'{value:g}' for value in std)}"
