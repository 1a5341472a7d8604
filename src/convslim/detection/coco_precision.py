"""Average precision as the COCO challenge defines it, by its own library. Needs the optional package `pycocotools`."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any, Final

from torch import Tensor

from convslim.data.heads import Detections
from convslim.data.objects import Objects
from convslim.errors import DataError

NAMES: Final = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")


def coco_precision(
    detections: Sequence[Detections], objects: Sequence[Objects], num_classes: int
) -> dict[str, float | None]:
    """Average precision over overlaps 0.5, 0.55, …, 0.95 (`AP`), at 0.5 and 0.75, and by size of the objects.

    Sizes are those in the network's input. Difficult objects count as crowds. None where no object counts.

    Args:
        detections, objects: Of the same images in the same order.
        num_classes: Classes to average over.

    Raises:
        DataError: `pycocotools` is not installed, or the numbers of images differ.

    References:
        T.-Y. Lin et al., *Microsoft COCO: Common Objects in Context*, ECCV 2014, arXiv:1405.0312.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise DataError("COCO's averages need the package pycocotools: pip install 'convslim[coco]'.") from error
    if len(detections) != len(objects):
        raise DataError(f"There are detections of {len(detections)} images and objects of {len(objects)}.")
    found = [row for number, each in enumerate(detections) for row in _found(each, number)]
    if not found:
        return {name: 0.0 if name in NAMES[:3] else None for name in NAMES}
    with contextlib.redirect_stdout(io.StringIO()):  # the library prints
        truth = COCO()
        truth.dataset = _truth(objects, num_classes)
        truth.createIndex()
        judged = COCOeval(truth, truth.loadRes(found), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return {name: None if value < 0 else float(value) for name, value in zip(NAMES, judged.stats, strict=False)}


def _truth(objects: Sequence[Objects], num_classes: int) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for number, each in enumerate(objects):
        for box, label, difficult in zip(each.boxes, each.labels.tolist(), each.difficult.tolist(), strict=True):
            left, top, width, height = _corner_and_size(box)
            row = {"id": len(rows) + 1, "image_id": number, "category_id": label, "iscrowd": int(difficult)}
            rows.append({**row, "bbox": [left, top, width, height], "area": width * height})
    return {
        "info": {},
        "images": [{"id": number} for number in range(len(objects))],
        "categories": [{"id": label} for label in range(num_classes)],
        "annotations": rows,
    }


def _found(each: Detections, number: int) -> list[dict[str, Any]]:
    rows = zip(each.boxes, each.scores.tolist(), each.labels.tolist(), strict=True)
    return [
        {"image_id": number, "category_id": label, "bbox": list(_corner_and_size(box)), "score": score}
        for box, score, label in rows
    ]


def _corner_and_size(box: Tensor) -> tuple[float, float, float, float]:
    left, top, right, bottom = box.tolist()
    return left, top, right - left, bottom - top
