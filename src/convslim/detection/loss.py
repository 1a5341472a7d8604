"""The loss of the detector: boxes, objectness and classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from convslim.data.objects import Objects
from convslim.detection.boxes import area, generalized_iou, iou
from convslim.detection.decode import Predictions, decode
from convslim.detection.targets import assign

IGNORED = 0.5  # predictions that overlap an object more are no background
FOCUS = 2.0
SMOOTHING = 0.01


@dataclass(frozen=True)
class DetectionLoss:
    """The three parts, each a scalar: summed over the places of an image, averaged over the batch."""

    boxes: Tensor
    objectness: Tensor
    classes: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum."""
        return self.boxes + self.objectness + self.classes


def detection_loss(
    maps: tuple[Tensor, ...], objects: Sequence[Objects], strides: tuple[int, ...], *, smoothing: float = SMOOTHING
) -> DetectionLoss:
    """Compare a batch of maps with the objects of its images.

    With t = 1 at the places that objects are assigned to:

    - boxes: ``Σ (2 - w h / (W H)) * (1 - GIoU)`` over these places; small objects count up to twice.
    - objectness: ``Σ |t - p|^2 * BCE(p, t)`` over these places and the background, which is every place whose box
      overlaps no object by 0.5 or more.
    - classes: ``Σ BCE`` over these places, targets ``(1 - s) * onehot + s / num_classes`` with the smoothing s.

    Every term of an object is multiplied by the object's weight.

    Args:
        maps: Per scale (N, 3 * (5 + num_classes), h, w).
        objects: Of every image, in pixels of the network's input.
        strides: Pixels of a cell, per scale.
        smoothing: Of the classes' targets.

    References:
        T.-Y. Lin et al., *Focal Loss for Dense Object Detection*, ICCV 2017, arXiv:1708.02002; H. Rezatofighi et al.,
        *Generalized Intersection over Union*, CVPR 2019; H. Zhang et al., *mixup*, ICLR 2018, for the weights.
    """
    predictions = decode(maps, strides)
    places = assign(objects, [(map_.shape[2], map_.shape[3]) for map_ in maps], strides)
    picked = places.image, places.place
    wanted = [objects[image] for image in range(len(objects))]
    boxes, labels, weights = _picked(wanted, places.image, places.number)
    image_area = float(maps[0].shape[2] * maps[0].shape[3] * strides[0] ** 2)
    overlap = generalized_iou(predictions.boxes[picked], boxes)
    box_loss = (weights * (2 - area(boxes) / image_area) * (1 - overlap)).sum()
    class_loss = (weights[:, None] * _class_terms(predictions.classes[picked], labels, smoothing)).sum()
    object_loss = _objectness(predictions, wanted, picked, weights)
    batch = max(len(objects), 1)
    return DetectionLoss(box_loss / batch, object_loss / batch, class_loss / batch)


def _picked(objects: Sequence[Objects], image: Tensor, number: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, labels and weights of objects by image and number."""
    first = torch.tensor([0, *(len(found.labels) for found in objects)], device=image.device).cumsum(0)
    rows = first[image] + number
    return (
        torch.cat([found.boxes for found in objects])[rows],
        torch.cat([found.labels for found in objects])[rows],
        torch.cat([found.weights for found in objects])[rows],
    )


def _class_terms(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    num_classes = logits.shape[1]
    targets = F.one_hot(labels, num_classes).to(logits) * (1 - smoothing) + smoothing / num_classes
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def _objectness(
    predictions: Predictions, objects: Sequence[Objects], picked: tuple[Tensor, Tensor], weights: Tensor
) -> Tensor:
    logits = predictions.objectness
    targets, counted = torch.zeros_like(logits), _background(predictions.boxes.detach(), objects)
    targets[picked] = 1.0
    counted[picked] = weights.to(counted)
    focus = (targets - logits.sigmoid()).abs() ** FOCUS
    terms = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (counted * focus * terms).sum()


def _background(boxes: Tensor, objects: Sequence[Objects]) -> Tensor:
    """1 where a predicted box overlaps no object much, (N, n); one image at a time, so that memory stays small."""
    free = torch.ones(boxes.shape[:2], device=boxes.device)
    for image, found in enumerate(objects):
        if len(found.boxes):
            free[image] = (iou(boxes[image][:, None], found.boxes[None]).amax(1) < IGNORED).to(free)
    return free
