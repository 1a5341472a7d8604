"""Which parts of quantization are active: told by a clock that counts training steps inside the network.

Training is a schedule: first only weights are rounded and ranges are observed, then activations are rounded too, and in
the end ranges and BatchNorm statistics stand still. The network counts its own steps, so any training loop will do, and
the count is saved and resumed with the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Phase(NamedTuple):
    """What happens in one forward pass.

    Attributes:
        observe: Ranges follow the activations.
        weights: Weights are rounded.
        activations: Activations are rounded.
        frozen: BatchNorm uses its running statistics, and leaves them.
    """

    observe: bool
    weights: bool
    activations: bool
    frozen: bool


WATCHING = Phase(observe=True, weights=False, activations=False, frozen=True)
"""Calibration: the float network runs, and ranges are taken."""

PLAIN = Phase(observe=False, weights=False, activations=False, frozen=True)
"""The float network."""

QUANTIZED = Phase(observe=False, weights=True, activations=True, frozen=True)
"""Evaluation: what the file computes."""

_STARTING = Phase(observe=True, weights=True, activations=False, frozen=False)
_TRAINING = Phase(observe=True, weights=True, activations=True, frozen=False)


class Clock(nn.Module):
    """Counts forward passes in training mode and tells the phase; in evaluation mode it is always ``QUANTIZED``.

    Args:
        delay: Steps before activations are rounded.
        freeze: Steps before ranges and BatchNorm statistics are frozen.

    >>> clock = Clock(delay=1, freeze=2)
    >>> [clock().activations for _ in range(2)], clock().frozen, clock.eval()() == QUANTIZED
    ([False, True], True, True)
    """

    steps: Tensor

    def __init__(self, delay: int = 0, freeze: int = 0) -> None:
        super().__init__()
        self.delay, self.freeze = delay, freeze
        self.fixed: Phase | None = None
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self) -> Phase:
        """The phase of this pass."""
        if self.fixed is not None:
            return self.fixed
        if not self.training:
            return QUANTIZED
        step = int(self.steps)
        self.steps += 1
        if step >= self.freeze:
            return QUANTIZED
        return _TRAINING if step >= self.delay else _STARTING

    @contextmanager
    def held(self, phase: Phase) -> Iterator[None]:
        """One phase for a while, whatever the mode."""
        before, self.fixed = self.fixed, phase
        try:
            yield
        finally:
            self.fixed = before
