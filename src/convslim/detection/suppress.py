"""From predictions to detections: thresholds, and one box per object."""

from __future__ import annotations

import torch
from torch import Tensor

from convslim.data.heads import Detections
from convslim.detection.boxes import iou
from convslim.detection.decode import Predictions
from convslim.errors import DataError


def detect(
    predictions: Predictions,
    *,
    threshold: float = 0.01,
    overlap: float = 0.45,
    limit: int = 300,
    candidates: int = 3000,
) -> list[Detections]:
    """Keep predictions above a threshold, without those that overlap a surer one of their class.

    Args:
        predictions: Of a batch.
        threshold: Smallest score; 0.01 for evaluation, some 0.3 to look at.
        overlap: IoU above which the less sure of two boxes of a class goes.
        limit: At most so many detections of an image.
        candidates: Only so many of the surest go into the comparison.

    Raises:
        DataError: If a threshold is out of range.
    """
    for name, value in (("threshold", threshold), ("overlap", overlap)):
        if not 0 <= value <= 1:
            raise DataError(f"{name}={value} must lie between 0 and 1.")
    scores = predictions.scores
    return [
        _detect_one(boxes, found, threshold, overlap, limit, candidates)
        for boxes, found in zip(predictions.boxes, scores, strict=True)
    ]


def _detect_one(
    boxes: Tensor, scores: Tensor, threshold: float, overlap: float, limit: int, candidates: int
) -> Detections:
    place, label = torch.nonzero(scores > threshold, as_tuple=True)
    order = scores[place, label].sort(descending=True, stable=True).indices[:candidates]
    place, label = place[order], label[order]
    kept = suppress(boxes[place], label, overlap)[:limit]
    place, label = place[kept], label[kept]
    return Detections(boxes[place], scores[place, label], label)


def suppress(boxes: Tensor, labels: Tensor, overlap: float) -> Tensor:
    """Non-maximum suppression per class: positions of the boxes that stay.

    Args:
        boxes: (n, 4), the surest first.
        labels: (n,); boxes of different classes do not compete.
        overlap: A box goes if its IoU with one that stays is larger.

    >>> box = torch.tensor([[0.0, 0, 10, 10]])
    >>> suppress(torch.cat([box, box + 1, box + 1]), torch.tensor([0, 0, 1]), 0.5).tolist()
    [0, 2]
    """
    rivals = torch.triu(iou(boxes[:, None], boxes[None]) > overlap, diagonal=1) & (labels[:, None] == labels[None])
    stays = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    for number in range(len(boxes)):
        if stays[number]:
            stays &= ~rivals[number]
    return torch.nonzero(stays)[:, 0]
