"""A detection set with COCO's JSON files as a `DataSource`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from convslim.data.coco import read_coco
from convslim.data.open_voc import detection_source
from convslim.data.source import DataSource


def open_coco(
    path: str,
    *,
    train: str = "annotations/instances_train2017.json",
    test: str = "annotations/instances_val2017.json",
    train_images: str = "train2017",
    test_images: str = "val2017",
    classes: Sequence[str] | None = None,
    side: int = 512,
    sides: Sequence[int] = (),
    workers: int = 2,
) -> DataSource:
    """Open annotated images, such as `coco:/data/coco`; evaluations have COCO's averages, too.

    Args:
        path: The folder that all others are below.
        train, test: JSON files.
        train_images, test_images: Folders of their images.
        classes: Names in the order of the network's outputs; without them all categories of the training file.
        side, sides, workers: As for `open_voc`.

    Raises:
        DataError: A file or an image is missing or broken, or an object has an unknown class.
    """
    root = Path(path)
    learned = read_coco(root / train, root / train_images, classes)
    tested = read_coco(root / test, root / test_images, learned.classes)
    return detection_source(root.resolve().name, learned, tested, side=side, sides=sides, workers=workers, coco=True)
