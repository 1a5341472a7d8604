"""Training, evaluation and recalibration of classifiers, by one loop that a person can read."""

from convslim.train.config import Precision, TrainConfig
from convslim.train.evaluate import Metrics, evaluate
from convslim.train.history import EpochMetrics
from convslim.train.loop import FitResult, fit
from convslim.train.recalibrate import recalibrate, recalibrate_

__all__ = [
    "EpochMetrics",
    "FitResult",
    "Metrics",
    "Precision",
    "TrainConfig",
    "evaluate",
    "fit",
    "recalibrate",
    "recalibrate_",
]
