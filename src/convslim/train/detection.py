"""Detection: boxes with classes, the detector's loss, mean average precision at an overlap of 0.5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from torch import Tensor

from convslim.data import DataSource, ImageSplit
from convslim.data.detection import DetectionSplit
from convslim.data.objects import Objects
from convslim.detection.average_precision import (
    ClassPrecision,
    average_precision,
    class_precisions,
    mean_average_precision,
)
from convslim.detection.coco_precision import coco_precision
from convslim.detection.decode import decode
from convslim.detection.loss import DetectionLoss, detection_loss
from convslim.detection.suppress import Detections, detect
from convslim.errors import DataError, ModelError
from convslim.models.yolov3_mobilenetv2 import BOX_VALUES, RARE, SLOTS
from convslim.train.config import TrainConfig

MEASURE: Final = "mAP@0.5"
CURVE: Final = 100
"""Points of a precision-recall curve that a record keeps."""


@dataclass(frozen=True)
class Maps:
    """A detector's maps in float32, each (N, 3 * (5 + num_classes), h, w), and the pixels of their cells."""

    maps: tuple[Tensor, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class DetectionMetrics:
    """Result of an evaluation.

    Attributes:
        names: Of the classes.
        classes: Curve and average precision, as area, of every class.
        total: Images.
        loss: Mean loss of an image.
        coco: The averages of the COCO challenge, where the split asks for them.
    """

    names: tuple[str, ...]
    classes: tuple[ClassPrecision, ...]
    total: int
    loss: float
    coco: Mapping[str, float | None] | None = None

    @property
    def measure(self) -> str:
        """`mAP@0.5`."""
        return MEASURE

    @property
    def value(self) -> float:
        """Mean over the classes of the area under the precision-recall curve."""
        return mean_average_precision(self.classes)

    @property
    def eleven_point(self) -> float:
        """Mean over the classes of the mean precision at recall 0, 0.1, …, 1."""
        found = [_eleven_point(each) for each in self.classes]
        return float(np.mean([value for value in found if value is not None]))

    def epoch_fields(self) -> Mapping[str, Any]:
        """See `Measured`."""
        return {"test_total": self.total, "test_loss": self.loss, "test_map": self.value}

    def record_fields(self) -> Mapping[str, Any]:
        """See `Measured`; a curve is kept at up to 100 of its points."""
        named = zip(self.names, self.classes, strict=True)
        return {
            "measure": self.measure,
            "value": self.value,
            "total": self.total,
            "loss": self.loss,
            "eleven_point": self.eleven_point,
            "coco": self.coco,
            "classes": tuple(_class_record(name, each) for name, each in named),
        }


def _eleven_point(found: ClassPrecision) -> float | None:
    return average_precision(found.precision, found.recall, "11-point") if found.num_objects else None


def _class_record(name: str, found: ClassPrecision) -> dict[str, Any]:
    points = np.unique(np.linspace(0, len(found.scores) - 1, min(CURVE, len(found.scores))).round().astype(int))
    curves = {"recall": found.recall, "precision": found.precision, "scores": found.scores}
    return {
        "name": name,
        "average_precision": found.average_precision,
        "eleven_point": _eleven_point(found),
        "num_objects": found.num_objects,
        **{key: tuple(round(float(value), 5) for value in values[points]) for key, values in curves.items()},
    }


class PrecisionJudge:
    """Collects what was found and what is there; processes do not share the images."""

    def __init__(self, names: tuple[str, ...], *, coco: bool = False) -> None:
        self.totals = None
        self._names = names
        self._coco = coco
        self._found: list[Detections] = []
        self._wanted: list[Objects] = []
        self._loss = 0.0

    def add_(self, outputs: Maps, targets: Sequence[Objects], positions: Tensor) -> None:
        """Take a batch in; where its images stand does not matter."""
        self._loss += float(_loss(outputs, targets, 0.0).total) * len(targets)
        found = detect(decode(outputs.maps, outputs.strides))
        self._found += [Detections(each.boxes.cpu(), each.scores.cpu(), each.labels.cpu()) for each in found]
        self._wanted += [each.to("cpu") for each in targets]

    def note(self) -> str:
        """Counts so far."""
        return f"{sum(len(each.labels) for each in self._found)} boxes in {len(self._wanted)} images"

    def measured(self) -> DetectionMetrics:
        """Precision and recall of every class.

        Raises:
            DataError: There was no image, or no object that counts.
        """
        total = len(self._wanted)
        if not total:
            raise DataError("The split to evaluate on gave no image. Check the data set's test part.")
        classes = class_precisions(self._found, self._wanted, len(self._names))
        mean_average_precision(classes)  # refuses images without objects
        coco = coco_precision(self._found, self._wanted, len(self._names)) if self._coco else None
        return DetectionMetrics(self._names, tuple(classes), total, self._loss / total, coco)


@dataclass(frozen=True)
class Detection:
    """Maps of several scales, and the objects of every image."""

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
                f"maps of shape ({len(images)}, {SLOTS} * ({BOX_VALUES} + num_classes), h, w), one per scale."
            )
        num_classes = maps[0].shape[1] // SLOTS - BOX_VALUES
        highest = max((int(each.labels.max()) for each in targets if len(each)), default=-1)
        if highest >= num_classes:
            raise DataError(
                f"Objects have classes up to {highest}, but {name} knows {num_classes}. Give the model num_classes: "
                f"{highest + 1}, or correct the annotations."
            )
        return Maps(tuple(each.float() for each in maps), tuple(images.shape[2] // each.shape[2] for each in maps))

    def loss(self, outputs: Maps, targets: Sequence[Objects], config: TrainConfig) -> Tensor:
        """The sum of the three parts of `detection_loss`, with `config.label_smoothing`."""
        return _loss(outputs, targets, config.label_smoothing).total

    def hits(self, outputs: Maps, targets: Sequence[Objects]) -> None:
        """An image is neither right nor wrong."""

    def judge(self, split: ImageSplit) -> PrecisionJudge:
        """A judge of average precision."""
        known = _annotated(split)
        return PrecisionJudge(known.annotated.classes, coco=known.coco)

    def guessing(self, source: DataSource) -> float:
        """Per object the largest loss of a box, and what objectness and class cost that are thought rare.

        The mean number of objects in a training image, times 4 - 2 * ln 0.01.
        """
        images = _annotated(source.train).annotated.images
        objects = sum(len(image.objects) for image in images) / max(len(images), 1)
        return max(objects, 1.0) * (4.0 - 2.0 * RARE)


def _annotated(split: ImageSplit) -> DetectionSplit:
    assert isinstance(split, DetectionSplit), "the task of this split is detection"
    return split


def _loss(outputs: Maps, targets: Sequence[Objects], smoothing: float) -> DetectionLoss:
    return detection_loss(outputs.maps, targets, outputs.strides, smoothing=smoothing)
