"""Detection: boxes with classes, the detector's loss, mean average precision at an overlap of 0.5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from convslim.data import DataSource, ImageSplit
from convslim.data.detection import DetectionSplit
from convslim.data.heads import Detections, Heads
from convslim.data.objects import Objects
from convslim.detection.average_precision import (
    ClassPrecision,
    average_precision,
    class_precisions,
    mean_average_precision,
)
from convslim.detection.coco_precision import coco_precision
from convslim.detection.yolo_heads import YoloHeads
from convslim.errors import DataError
from convslim.train.config import TrainConfig
from convslim.train.gather import gathered, parts_of, rows_of

MEASURE: Final = "mAP@0.5"
LEAST_SCORE: Final = 0.01
"""Less sure boxes do not count in an evaluation."""
OVERLAP: Final = 0.45
"""Of two boxes of a class that overlap more the less sure one goes."""
CURVE: Final = 100
"""Points of a precision-recall curve that a record keeps."""


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
    """Collects what was found and what is there, image by image."""

    def __init__(self, names: tuple[str, ...], heads: Heads, *, coco: bool = False) -> None:
        self._names = names
        self._heads = heads
        self._coco = coco
        self._found: dict[int, Detections] = {}  # by the image's place in the split
        self._wanted: dict[int, Objects] = {}
        self._loss = 0.0

    def add_(self, outputs: Any, targets: Sequence[Objects], positions: Tensor) -> None:
        """Take a batch in."""
        self._loss += float(self._heads.loss(outputs, targets, 0.0)) * len(targets)
        found = self._heads.detect(outputs, threshold=LEAST_SCORE, overlap=OVERLAP)
        for place, boxes, objects in zip(positions.tolist(), found, targets, strict=True):
            self._found[place] = Detections(boxes.boxes.cpu(), boxes.scores.cpu(), boxes.labels.cpu())
            self._wanted[place] = objects.to("cpu")

    def gather_(self, device: torch.device) -> None:
        """Take in the images of the other processes."""
        seen = torch.tensor([[place] for place in self._wanted], dtype=torch.float64).reshape(-1, 1)
        places = gathered(seen, device)[:, 0].long().sort().values
        found = {place: (each.boxes, each.scores, each.labels) for place, each in self._found.items()}
        wanted = {place: (each.boxes, each.labels, each.difficult) for place, each in self._wanted.items()}
        for place, rows in parts_of(gathered(rows_of(found, 6), device), places).items():
            self._found[place] = Detections(rows[:, :4].float(), rows[:, 4].float(), rows[:, 5].long())
        for place, rows in parts_of(gathered(rows_of(wanted, 6), device), places).items():
            self._wanted[place] = Objects.of(rows[:, :4], rows[:, 4], rows[:, 5])
        self._loss = float(gathered(torch.tensor([[self._loss]], dtype=torch.float64), device).sum())

    def note(self) -> str:
        """Counts so far."""
        return f"{sum(len(each.labels) for each in self._found.values())} boxes in {len(self._wanted)} images"

    def measured(self) -> DetectionMetrics:
        """Precision and recall of every class.

        Raises:
            DataError: There was no image, or no object that counts.
        """
        total = len(self._wanted)
        if not total:
            raise DataError("The split to evaluate on gave no image. Check the data set's test part.")
        places = sorted(self._wanted)
        found, wanted = [self._found[place] for place in places], [self._wanted[place] for place in places]
        classes = class_precisions(found, wanted, len(self._names))
        mean_average_precision(classes)  # refuses images without objects
        coco = coco_precision(found, wanted, len(self._names)) if self._coco else None
        return DetectionMetrics(self._names, tuple(classes), total, self._loss / total, coco)


@dataclass(frozen=True)
class Detection:
    """Outputs that a detector's heads read, and the objects of every image.

    Attributes:
        heads: What the outputs mean; by default the maps of the detector that comes with convslim.
    """

    heads: Heads = field(default_factory=YoloHeads)

    def checked(self, outputs: Any, images: Tensor, targets: Sequence[Objects], name: str) -> Any:
        """As the heads want them, in float32; errors are theirs."""
        return self.heads.checked(outputs, images, targets, name)

    def loss(self, outputs: Any, targets: Sequence[Objects], config: TrainConfig) -> Tensor:
        """The loss of the heads, with `config.label_smoothing`."""
        return self.heads.loss(outputs, targets, config.label_smoothing)

    def hits(self, outputs: Any, targets: Sequence[Objects]) -> None:
        """An image is neither right nor wrong."""

    def judge(self, split: ImageSplit) -> PrecisionJudge:
        """A judge of average precision."""
        known = _annotated(split)
        return PrecisionJudge(known.annotated.classes, self.heads, coco=known.coco)

    def guessing(self, source: DataSource) -> float:
        """That of the heads, for the mean number of objects in a training image."""
        images = _annotated(source.train).annotated.images
        return self.heads.guessing(sum(len(image.objects) for image in images) / max(len(images), 1))


def _annotated(split: ImageSplit) -> DetectionSplit:
    assert isinstance(split, DetectionSplit), "the task of this split is detection"
    return split
