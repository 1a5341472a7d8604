"""What a step's network took every test image for, as a file, so that later steps can compare."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor

from convslim.errors import ArtifactError
from convslim.files import replace_file
from convslim.train import Measured, Metrics

FILE = "predictions.safetensors"


class Predictions(NamedTuple):
    """int64 (N,): the label of every test image, and the answer that it got, in the order of the test images."""

    labels: Tensor
    answers: Tensor


def predictions_of(metrics: Measured | None) -> Predictions | None:
    """The answers behind an evaluation; None where the task has none."""
    if not isinstance(metrics, Metrics) or metrics.labels is None or metrics.predictions is None:
        return None
    return Predictions(metrics.labels, metrics.predictions)


def save_predictions(found: Predictions, folder: Path) -> None:
    """Write them into a step's folder.

    Raises:
        ArtifactError: the file cannot be written.
    """
    tensors = {name: tensor.to(torch.int32).contiguous() for name, tensor in found._asdict().items()}
    replace_file(folder / FILE, lambda path: path.write_bytes(serialize(tensors)))


def load_predictions(folder: Path) -> Predictions | None:
    """Read them from a finished step's folder; None where it has none, as those of earlier versions.

    Raises:
        ArtifactError: the file is damaged.
    """
    if not (folder / FILE).exists():
        return None
    try:
        tensors = load_file(folder / FILE)
        return Predictions(tensors["labels"].long(), tensors["answers"].long())
    except (OSError, KeyError, SafetensorError) as error:
        raise ArtifactError(f"{folder / FILE} is damaged: {error}. Remove the folder {folder} and --resume.") from error
