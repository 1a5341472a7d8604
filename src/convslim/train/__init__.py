"""Training, evaluation and recalibration of classifiers and detectors, by one loop that a person can read."""

from convslim.train.classification import Metrics
from convslim.train.config import Precision, TrainConfig
from convslim.train.detection import DetectionMetrics
from convslim.train.evaluate import evaluate
from convslim.train.history import EpochMetrics
from convslim.train.loop import FitResult, fit
from convslim.train.recalibrate import recalibrate, recalibrate_
from convslim.train.task import Measured

__all__ = [
    "DetectionMetrics",
    "EpochMetrics",
    "FitResult",
    "Measured",
    "Metrics",
    "Precision",
    "TrainConfig",
    "evaluate",
    "fit",
    "recalibrate",
    "recalibrate_",
]
