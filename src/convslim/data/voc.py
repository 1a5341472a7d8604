"""Images with boxes in the layout of the Pascal VOC challenge: JPEGImages, Annotations, ImageSets/Main."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from convslim.data.objects import Objects
from convslim.data.voc_xml import VocFile, VocObject, read_annotation
from convslim.errors import DataError, nearest

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The classes of the challenge, in its order."""
SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class AnnotatedImage:
    """An image file and what is in it; `size` is (width, height)."""

    path: Path
    size: tuple[int, int]
    objects: Objects


@dataclass(frozen=True)
class Repairs:
    """What was odd in annotations, counted.

    Attributes:
        empty: Boxes without area, left out.
        outside: Boxes wholly outside their image, left out.
        clipped: Boxes that reached over the border and were cut at it.
        without_objects: Images in which nothing is left.
    """

    empty: int = 0
    outside: int = 0
    clipped: int = 0
    without_objects: int = 0

    def __str__(self) -> str:
        parts = [
            (self.empty, "boxes without area left out"),
            (self.outside, "boxes outside their image left out"),
            (self.clipped, "boxes cut at the border"),
            (self.without_objects, "images without objects"),
        ]
        return ", ".join(f"{number} {text}" for number, text in parts if number) or "nothing odd"


@dataclass(frozen=True)
class AnnotatedImages:
    """One split: images, the names of the classes, and what was repaired."""

    images: tuple[AnnotatedImage, ...]
    classes: tuple[str, ...]
    repairs: Repairs

    def __len__(self) -> int:
        return len(self.images)


def read_voc(
    roots: str | Path | Iterable[str | Path], split: str, classes: Sequence[str] | None = None
) -> AnnotatedImages:
    """Read the annotations of a split; images are looked for, and opened when they are needed.

    Args:
        roots: One or several folders in the layout, for example VOC2007 and VOC2012 together.
        split: Name of the list in ImageSets/Main, for example ``"trainval"``.
        classes: Names in the order of the network's outputs; without them, all that occur, in the order of the
            alphabet.

    Returns:
        The images in the order of the lists. Boxes are converted to a left upper corner of 0, 0.

    Raises:
        DataError: A list, an image or an annotation is missing or broken, or an object has a class that is not among
            ``classes``; names file, value and rule.
    """
    folders = [Path(root) for root in ([roots] if isinstance(roots, str | Path) else roots)]
    pairs = [pair for folder in folders for pair in _pairs(folder, split)]
    files = [(image, read_annotation(annotation), annotation) for image, annotation in pairs]
    known = tuple(classes) if classes is not None else _occurring(file for _, file, _ in files)
    images, repairs = [], Repairs()
    for path, file, annotation in files:
        objects, found = _objects(file, annotation, known)
        images.append(AnnotatedImage(path, file.size, objects))
        repairs = _sum(repairs, found)
    return AnnotatedImages(tuple(images), known, repairs)


def _pairs(root: Path, split: str) -> list[tuple[Path, Path]]:
    """Image and annotation of every name in a split's list."""
    lists = root / "ImageSets" / "Main"
    try:
        lines = (lists / f"{split}.txt").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        there = sorted(path.stem for path in lists.glob("*.txt"))
        raise DataError(
            f"{root} has no readable list ImageSets/Main/{split}.txt: {error}. "
            f"Lists there: {', '.join(there) or 'none; is this the folder that holds JPEGImages and Annotations?'}."
        ) from error
    names = [line.split()[0] for line in lines if line.strip()]
    if not names:
        raise DataError(f"{lists / f'{split}.txt'} names no image.")
    return [(_image(root, name, split), root / "Annotations" / f"{name}.xml") for name in names]


def _image(root: Path, name: str, split: str) -> Path:
    if Path(name).name != name:
        raise DataError(f"{root}: the list {split}.txt names {name!r}; a plain file name without folders is needed.")
    for suffix in SUFFIXES:
        path = root / "JPEGImages" / f"{name}{suffix}"
        if path.is_file():
            return path
    raise DataError(f"{root / 'JPEGImages'} has no image {name} ({', '.join(SUFFIXES)}), which {split}.txt names.")


def _occurring(files: Iterable[VocFile]) -> tuple[str, ...]:
    return tuple(sorted({found.name for file in files for found in file.objects}))


def _objects(file: VocFile, path: Path, classes: Sequence[str]) -> tuple[Objects, Repairs]:
    boxes, labels, difficult = [], [], []
    empty = outside = clipped = 0
    for found in file.objects:
        if found.name not in classes:
            raise DataError(
                f"{path}: an object is a {found.name!r}, which is none of the classes "
                f"{', '.join(classes)}.{nearest(found.name, classes)}"
            )
        whole = _corners(found)
        box = _clip(whole, file.size)
        if whole[2] - whole[0] <= 1 and whole[3] - whole[1] <= 1:
            empty += 1  # one pixel: both corners are the same point
        elif whole[2] <= whole[0] or whole[3] <= whole[1]:
            empty += 1
        elif box[2] <= box[0] or box[3] <= box[1]:
            outside += 1
        else:
            clipped += box != whole
            boxes.append(box)
            labels.append(classes.index(found.name))
            difficult.append(found.difficult)
    objects = Objects.of(torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels), torch.tensor(difficult))
    return objects, Repairs(empty, outside, clipped, int(not boxes))


Box = tuple[float, float, float, float]


def _corners(found: VocObject) -> Box:
    """Pixels are counted from 1 and both corners lie inside, so the left upper corner moves by one."""
    left, top, right, bottom = found.corners
    return left - 1, top - 1, right, bottom


def _clip(box: Box, size: tuple[int, int]) -> Box:
    width, height = size
    left, top, right, bottom = box
    return max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))


def _sum(left: Repairs, right: Repairs) -> Repairs:
    return Repairs(
        left.empty + right.empty,
        left.outside + right.outside,
        left.clipped + right.clipped,
        left.without_objects + right.without_objects,
    )
