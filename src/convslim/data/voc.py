"""Images with boxes in the layout of the Pascal VOC challenge: JPEGImages, Annotations, ImageSets/Main."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from convslim.data.annotated import AnnotatedImage, AnnotatedImages, Box, Repairs, repaired, summed
from convslim.data.objects import Objects
from convslim.data.voc_xml import VocFile, VocObject, read_annotation
from convslim.errors import DataError, nearest

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The classes of the challenge, in its order."""
SUFFIXES = (".jpg", ".jpeg", ".png")


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
        repairs = summed(repairs, found)
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
    for found in file.objects:
        if found.name not in classes:
            raise DataError(
                f"{path}: an object is a {found.name!r}, which is none of the classes "
                f"{', '.join(classes)}.{nearest(found.name, classes)}"
            )
    return repaired(
        [_corners(found) for found in file.objects],
        [classes.index(found.name) for found in file.objects],
        [found.difficult for found in file.objects],
        file.size,
    )


def _corners(found: VocObject) -> Box:
    """Pixels are counted from 1 and both corners lie inside, so the left upper corner moves by one."""
    left, top, right, bottom = found.corners
    return left - 1, top - 1, right, bottom
