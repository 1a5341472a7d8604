"""One forward pass of a classifier, with errors that name the batch."""

from __future__ import annotations

from torch import Tensor, nn

from convslim.errors import DataError, ModelError


def logits(model: nn.Module, images: Tensor, labels: Tensor, *, name: str | None = None) -> Tensor:
    """Class scores of a batch.

    Args:
        images: (N, C, H, W) normalized images.
        labels: (N,) class numbers, compared with the number of scores.
        name: what errors call the model; its class unless given.

    Returns:
        (N, num_classes) float32 scores.

    Raises:
        ModelError: the model fails on the batch, or gives something else than one score per class.
        DataError: a label lies outside the classes of the model.
    """
    shape = tuple(images.shape)
    name = name or type(model).__name__
    try:
        scores = model(images)
    except (DataError, ModelError):
        raise
    except Exception as error:  # the user's forward can raise anything: name the batch, keep the cause
        raise ModelError(
            f"{name} failed on a batch of shape {shape}: {type(error).__name__}: {error}. "
            "Check that the model fits the data set's image size and channels."
        ) from error
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
