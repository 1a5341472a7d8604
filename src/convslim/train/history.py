"""Metrics of the epochs, and the file that lets a training go on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from convslim.errors import ArtifactError
from convslim.files import replace_text
from convslim.train.checkpoint import (
    Position,
    load_checkpoint,
    save_checkpoint,
    select,
    state_tensors,
)
from convslim.train.optimizer import optimizer_tensors, restore_optimizer_

if TYPE_CHECKING:
    from convslim.train.loop import Training

CHECKPOINT = "training.safetensors"
METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch gave.

    Losses are mean cross-entropies in nats, accuracies shares 0…1, `lr` is that of the last step, `seconds`
    and `images_per_second` are of training without the evaluation. Test figures are `None` in epochs that are
    not evaluated.
    """

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    penalty: float | None
    seconds: float
    images_per_second: float
    test_correct: int | None = None
    test_total: int | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None


def write_metrics(path: Path, history: Sequence[EpochMetrics]) -> None:
    """One JSON object a line and epoch, replacing the file atomically."""
    text = "".join(json.dumps(asdict(metrics)) + "\n" for metrics in history)
    replace_text(path, text)


def save(training: Training, path: Path, history: Sequence[EpochMetrics]) -> None:
    """Write everything that the next epoch starts from."""
    tensors = state_tensors("model", training.module)
    for name, tensor in optimizer_tensors(training.module, training.optimizer).items():
        tensors[f"optimizer/{name}"] = tensor
    if training.average:
        tensors |= state_tensors("average", training.average.model)
    position = Position(
        epochs_done=len(history),
        history=tuple(asdict(metrics) for metrics in history),
        config=training.config.model_dump(mode="json"),
        average_steps=training.average.steps if training.average else 0,
    )
    save_checkpoint(path, tensors, position)


def resume_(training: Training, path: Path) -> list[EpochMetrics]:
    """Put a training where the checkpoint left it and return the epochs done.

    Raises:
        ArtifactError: the checkpoint is damaged, or made under another configuration or for another
            model.
    """
    tensors, position = load_checkpoint(path)
    present = training.config.model_dump(mode="json")
    changed = [key for key in present if position.config.get(key) != present[key]]
    if changed:
        differences = ", ".join(f"{key} {position.config.get(key)!r} → {present[key]!r}" for key in changed)
        raise ArtifactError(
            f"{path} was made under another configuration ({differences}). Set it back to go on, or start "
            "in a new folder."
        )
    try:
        training.module.load_state_dict(select("model", tensors))
        if training.average:
            training.average.model.load_state_dict(select("average", tensors))
            training.average.steps = position.average_steps
    except RuntimeError as error:
        raise ArtifactError(
            f"{path} belongs to another model: {error}. Start in a new folder, or resume with that model."
        ) from error
    restore_optimizer_(training.module, training.optimizer, select("optimizer", tensors))
    return [EpochMetrics(**metrics) for metrics in position.history]
