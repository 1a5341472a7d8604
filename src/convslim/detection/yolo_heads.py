"""Outputs of the detector that comes with convslim: maps of several scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from convslim.data.heads import Detections
from convslim.data.objects import Objects
from convslim.detection.decode import decode
from convslim.detection.loss import detection_loss
from convslim.detection.suppress import detect
from convslim.errors import DataError, ModelError
from convslim.models.yolov3_mobilenetv2 import BOX_VALUES, RARE, SLOTS


@dataclass(frozen=True)
class Maps:
    """A detector's maps in float32, each (N, 3 * (5 + num_classes), h, w), and the pixels of their cells."""

    maps: tuple[Tensor, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class YoloHeads:
    """Maps in which every cell predicts boxes, objectness and classes, see :mod:`convslim.detection.decode`."""

    def checked(self, outputs: Any, images: Tensor, targets: Sequence[Objects], name: str) -> Maps:
        """Maps in float32 with their strides.

        Raises:
            ModelError: The outputs are not maps of 3 * (5 + num_classes) channels whose cells divide the image.
            DataError: An object has a class that the maps do not have.
        """
        maps = tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,)
        if not all(isinstance(each, Tensor) and each.ndim == 4 and len(each) == len(images) for each in maps):
            raise ModelError(
                f"{name} returned {type(outputs).__name__} for a batch of shape {tuple(images.shape)}; detection needs "
                f"maps of shape ({len(images)}, {SLOTS} * ({BOX_VALUES} + num_classes), h, w), one per scale. For "
                "another detector give the model 'heads'."
            )
        num_classes = maps[0].shape[1] // SLOTS - BOX_VALUES
        highest = max((int(each.labels.max()) for each in targets if len(each)), default=-1)
        if highest >= num_classes:
            raise DataError(
                f"Objects have classes up to {highest}, but {name} knows {num_classes}. Give the model num_classes: "
                f"{highest + 1}, or correct the annotations."
            )
        return Maps(tuple(each.float() for each in maps), tuple(images.shape[2] // each.shape[2] for each in maps))

    def loss(self, outputs: Maps, targets: Sequence[Objects], smoothing: float) -> Tensor:
        """The sum of the three parts of `detection_loss`."""
        return detection_loss(outputs.maps, targets, outputs.strides, smoothing=smoothing).total

    def detect(self, outputs: Maps, *, threshold: float, overlap: float) -> list[Detections]:
        """The boxes of every image, after suppression per class."""
        return detect(decode(outputs.maps, outputs.strides), threshold=threshold, overlap=overlap)

    def guessing(self, num_objects: float) -> float:
        """Per object the largest loss of a box, and what objectness and class cost thought rare: 4 - 2 ln 0.01."""
        return max(num_objects, 1.0) * (4.0 - 2.0 * RARE)
