"""Metrics of the epochs, and the file that lets a training go on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from convslim.errors import ArtifactError
from convslim.files import replace_text
from convslim.sparsity.paced import Paced
from convslim.train.checkpoint import (
    Position,
    load_checkpoint,
    save_checkpoint,
    select,
    state_tensors,
)
from convslim.train.optimizer import optimizer_tensors, restore_optimizer_

if TYPE_CHECKING:
    from convslim.train.step import Training

CHECKPOINT = "training.safetensors"
METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch gave.

    Losses are means of the task's, cross-entropies in nats for a classifier; accuracies and the mean average precision
    `test_map` of a detector are shares 0…1, each `None` where the task has it not. `lr` is that of the last step,
    `seconds` and `images_per_second` are of training without the evaluation. Test figures are `None` in epochs that
    are not evaluated. `guidance` is the mean weighted sum of the guidance losses, `facts` what an observer noted.
    """

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float | None
    penalty: float | None
    seconds: float
    images_per_second: float
    test_correct: int | None = None
    test_total: int | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None
    test_map: float | None = None
    guidance: float | None = None
    facts: Mapping[str, Any] | None = None


def write_metrics(path: Path, history: Sequence[EpochMetrics]) -> None:
    """One JSON object a line and epoch, replacing the file atomically."""
    text = "".join(json.dumps(asdict(metrics)) + "\n" for metrics in history)
    replace_text(path, text)


def save(training: Training, path: Path, history: Sequence[EpochMetrics], ended: bool) -> None:
    """Write everything that the next epoch starts from."""
    tensors: dict[str, Tensor] = {}
    for part, module in _parts(training).items():
        tensors |= state_tensors(part, module)
        for name, tensor in optimizer_tensors(module, training.optimizer).items():
            tensors[f"{part}-optimizer/{name}"] = tensor
    if training.average:
        tensors |= state_tensors("average", training.average.model)
    position = Position(
        epochs_done=len(history),
        history=tuple(asdict(metrics) for metrics in history),
        config=training.config.model_dump(mode="json"),
        average_steps=training.average.steps if training.average else 0,
        ended=ended,
        penalty=training.penalty.state() if isinstance(training.penalty, Paced) else {},
    )
    save_checkpoint(path, tensors, position)


def _parts(training: Training) -> dict[str, nn.Module]:
    """The modules whose parameters the optimizer moves."""
    return {"model": training.module} | ({"adapters": training.guidance.adapters} if training.guidance else {})


def resume_(training: Training, path: Path) -> tuple[list[EpochMetrics], bool]:
    """Put a training where the checkpoint left it; the epochs done, and whether an observer had ended it.

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
        for part, module in _parts(training).items():
            module.load_state_dict(select(part, tensors))
        if training.average:
            training.average.model.load_state_dict(select("average", tensors))
            training.average.steps = position.average_steps
    except RuntimeError as error:
        raise ArtifactError(
            f"{path} belongs to another model: {error}. Start in a new folder, or resume with that model."
        ) from error
    if isinstance(training.penalty, Paced):
        training.penalty.restore_(position.penalty)
    for part, module in _parts(training).items():
        restore_optimizer_(module, training.optimizer, select(f"{part}-optimizer", tensors))
    return [EpochMetrics(**metrics) for metrics in position.history], position.ended
