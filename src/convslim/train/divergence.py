"""Noticing that a training has failed."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor


class DivergenceWatch:
    """Tells when a loss is not finite, or stays far above that of guessing.

    A loss above factor times that of guessing, ln K among K classes, for `patience` steps in a row counts as
    diverged.

    >>> watch = DivergenceWatch(guessing=math.log(10), factor=10.0, patience=2)
    >>> watch.verdict(2.3), watch.verdict(50.0)
    (None, None)
    >>> watch.verdict(51.0)
    'the loss stayed above 23.03 (10 times that of guessing) for 2 steps and is now 51'
    >>> watch.verdict(float("nan"))
    'the loss is nan'
    """

    def __init__(self, guessing: float, factor: float, patience: int) -> None:
        self.limit = factor * guessing
        self.factor = factor
        self.patience = patience
        self._above = 0

    def verdict(self, loss: float) -> str | None:
        """What is wrong after a step with this loss, or `None`."""
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        self._above = self._above + 1 if loss > self.limit else 0
        if self._above < self.patience:
            return None
        return (
            f"the loss stayed above {self.limit:.2f} ({self.factor:g} times that of guessing) for "
            f"{self.patience} steps and is now {loss:.4g}"
        )


def broken(tensors: Mapping[str, Tensor]) -> str | None:
    """What is wrong with a network's parameters and buffers, or `None`: a loss need not show it.

    >>> import torch
    >>> broken({"conv.weight": torch.tensor([1.0, torch.nan])})
    'conv.weight holds NaN'
    """
    for name, tensor in tensors.items():
        if tensor.isnan().any():  # infinite values are at home in the masks of attention
            return f"{name} holds NaN"
    return None
