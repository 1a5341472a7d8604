"""One forward pass, with errors that name the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from convslim.errors import DataError, ModelError

if TYPE_CHECKING:
    from convslim.train.task import Task


def outputs_of(task: Task, model: nn.Module, images: Tensor, targets: Any, *, name: str | None = None) -> Any:
    """What a model gives for a batch, as its task needs it.

    Args:
        images: (N, C, H, W) normalized images.
        targets: Of the task, N of them.
        name: what errors call the model; its class unless given.

    Raises:
        ModelError: the model fails on the batch, or gives something else than the task needs.
        DataError: the targets do not fit the model.
    """
    name = name or type(model).__name__
    return task.checked(_called(model, images, name), images, targets, name)


def logits(model: nn.Module, images: Tensor, labels: Tensor, *, name: str | None = None) -> Tensor:
    """Class scores of a batch, float32 (N, num_classes); arguments and errors as for `outputs_of`."""
    name = name or type(model).__name__
    return class_scores(_called(model, images, name), images, labels, name)


def _called(model: nn.Module, images: Tensor, name: str) -> Any:
    try:
        return model(images)
    except (DataError, ModelError):
        raise
    except Exception as error:  # the user's forward can raise anything: name the batch, keep the cause
        raise ModelError(
            f"{name} failed on a batch of shape {tuple(images.shape)}: {type(error).__name__}: {error}. "
            "Check that the model fits the data set's image size and channels."
        ) from error


def class_scores(scores: Any, images: Tensor, labels: Tensor, name: str) -> Tensor:
    """A classifier's outputs in float32, (N, num_classes), compared with the labels.

    Raises:
        ModelError: they are something else than one score per class.
        DataError: a label lies outside the classes of the model.
    """
    shape = tuple(images.shape)
    if not isinstance(scores, Tensor) or scores.ndim != 2 or scores.shape[0] != shape[0]:
        found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ModelError(
            f"{name} returned {found} for a batch of shape {shape}; training and evaluation "
            f"need a tensor of shape ({shape[0]}, num_classes)."
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= scores.shape[1]:
        raise DataError(
            f"Labels run from {low} to {high}, but {name} scores {scores.shape[1]} classes. "
            f"Give the model num_classes: {high + 1}, or correct the labels."
        )
    return scores.float()
