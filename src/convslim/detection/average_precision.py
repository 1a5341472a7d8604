"""Average precision of a detector as the Pascal VOC challenge defines it.

References:
    M. Everingham et al., *The Pascal Visual Object Classes (VOC) Challenge*, IJCV 88, 2010; the development kits of
    2007 (11 points) and 2010 (area under the curve).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

from convslim.data.heads import Detections
from convslim.data.objects import Objects
from convslim.detection.boxes import iou
from convslim.errors import DataError

Floats = npt.NDArray[np.float64]
How = Literal["area", "11-point"]
WRONG, RIGHT, IGNORED = 0, 1, 2
ELEVEN = np.arange(11) / 10


@dataclass(frozen=True, eq=False)
class ClassPrecision:
    """One class.

    Attributes:
        average_precision: None if no object of the class counts.
        precision, recall: Behind each detection, the surest first.
        scores: Of these detections.
        num_objects: Objects that count, which leaves out difficult ones.
    """

    average_precision: float | None
    precision: Floats
    recall: Floats
    scores: Floats
    num_objects: int


def mean_average_precision(classes: Sequence[ClassPrecision]) -> float:
    """Mean over the classes that have objects.

    Raises:
        DataError: If none has.
    """
    found = [each.average_precision for each in classes if each.average_precision is not None]
    if not found:
        raise DataError("No object counts in these images, so there is no average precision. Check the split.")
    return float(np.mean(found))


def class_precisions(
    detections: Sequence[Detections],
    objects: Sequence[Objects],
    num_classes: int,
    *,
    overlap: float = 0.5,
    how: How = "area",
) -> list[ClassPrecision]:
    """Precision and recall of every class.

    A detection is right if its IoU with an object of its class is `overlap` or more and no surer one has taken that
    object: each detection is compared with the object that it overlaps most. Difficult objects count neither way.

    Args:
        detections, objects: Of the same images in the same order.
        num_classes: Classes to report.
        overlap: IoU that makes a detection right.
        how: ``"area"`` under the precision made monotone, or the mean at recall 0, 0.1, ..., 1.

    Raises:
        DataError: If the numbers of images differ.
    """
    if len(detections) != len(objects):
        raise DataError(f"There are detections of {len(detections)} images and objects of {len(objects)}.")
    return [_of_class(detections, objects, label, overlap, how) for label in range(num_classes)]


def _of_class(
    detections: Sequence[Detections], objects: Sequence[Objects], label: int, overlap: float, how: How
) -> ClassPrecision:
    scores, right, counted = [], [], []
    total = 0
    for found, wanted in zip(detections, objects, strict=True):
        own = found.labels == label
        mine = wanted.labels == label
        total += int((mine & ~wanted.difficult).sum())
        judged = _judge(found.boxes[own], wanted.boxes[mine], wanted.difficult[mine].cpu().numpy(), overlap)
        scores.append(found.scores[own].double().cpu().numpy())
        right.append(judged == RIGHT)
        counted.append(judged != IGNORED)
    flat = np.concatenate(scores) if scores else np.zeros(0)
    order = np.argsort(-flat, kind="stable")
    keep = np.concatenate(counted)[order] if len(flat) else np.zeros(0, bool)
    hits = np.concatenate(right)[order][keep] if len(flat) else np.zeros(0, bool)
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    recall = np.cumsum(hits) / max(total, 1)
    average = average_precision(precision, recall, how) if total else None
    return ClassPrecision(average, precision, recall, flat[order][keep], total)


def _judge(boxes: Tensor, wanted: Tensor, difficult: npt.NDArray[np.bool_], overlap: float) -> npt.NDArray[np.int64]:
    """Verdict on each detection of one class in one image, the surest first."""
    verdicts = np.full(len(boxes), WRONG)
    if not len(boxes) or not len(wanted):
        return verdicts
    overlaps = iou(boxes[:, None].double(), wanted[None].double()).cpu().numpy()
    taken = np.zeros(len(difficult), bool)
    for number, best in enumerate(overlaps.argmax(1)):
        if overlaps[number, best] < overlap:
            continue
        if difficult[best]:
            verdicts[number] = IGNORED
        elif not taken[best]:
            verdicts[number], taken[best] = RIGHT, True
    return verdicts


def average_precision(precision: Floats, recall: Floats, how: How = "area") -> float:
    """The average of a precision-recall curve, whose recall grows.

    >>> average_precision(np.array([1.0, 0.5, 2 / 3]), np.array([0.5, 0.5, 1.0]))
    0.8333333333333333
    """
    best = np.maximum.accumulate(precision[::-1])[::-1]
    if how == "11-point":
        points = [best[np.searchsorted(recall, point)] if (recall >= point).any() else 0.0 for point in ELEVEN]
        return float(np.mean(points))
    steps = np.diff(np.concatenate([[0.0], recall]))
    return float((steps * best).sum())
