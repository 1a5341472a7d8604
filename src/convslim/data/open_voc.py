"""A detection set in the layout of the Pascal VOC challenge as a `DataSource`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from convslim.data.annotated import AnnotatedImages
from convslim.data.detection import DetectionSplit
from convslim.data.source import DataSource
from convslim.data.voc import read_voc


def open_voc(
    path: str,
    *,
    train: str = "trainval",
    test: str = "test",
    train_folders: Sequence[str] = (".",),
    test_folders: Sequence[str] = (".",),
    classes: Sequence[str] | None = None,
    side: int = 512,
    sides: Sequence[int] = (),
    workers: int = 2,
) -> DataSource:
    """Open annotated images, such as `voc:/data/VOCdevkit` with `train_folders` `[VOC2007, VOC2012]`.

    Args:
        path: A folder with JPEGImages, Annotations and ImageSets/Main, or one that holds several such folders.
        train, test: Names of lists in ImageSets/Main.
        train_folders, test_folders: Folders below `path` whose images are taken together.
        classes: Names in the order of the network's outputs; without them all that occur in the training images, in
            the order of the alphabet.
        side: Height and width of what the network gets, a multiple of 32; images keep their proportions.
        sides: Training batches have one of these sides each instead.
        workers: Processes that decode images; 0 decodes in the main process.

    Raises:
        DataError: A list, an image or an annotation is missing or broken, or an object has an unknown class.
    """
    root = Path(path)
    learned = read_voc([root / folder for folder in train_folders], train, classes)
    tested = read_voc([root / folder for folder in test_folders], test, learned.classes)
    return detection_source(root.resolve().name, learned, tested, side=side, sides=sides, workers=workers)


def detection_source(
    name: str,
    train: AnnotatedImages,
    test: AnnotatedImages,
    *,
    side: int = 512,
    sides: Sequence[int] = (),
    workers: int = 2,
    coco: bool = False,
) -> DataSource:
    """Annotated images for training and test as a `DataSource`, with notes on what was odd in the annotations."""
    notes = tuple(f"{part} images: {images.repairs}" for part, images in (("training", train), ("test", test)))
    return DataSource(
        name,
        DetectionSplit(train, side, workers=workers, sides=tuple(sides), coco=coco),
        DetectionSplit(test, side, workers=workers, coco=coco),
        train.classes,
        notes=notes,
    )
