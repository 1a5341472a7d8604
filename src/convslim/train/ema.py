"""Exponential moving average of a model's weights and buffers."""

from __future__ import annotations

import copy

import torch
from torch import nn


class WeightAverage:
    """A shadow of a model: a ← d·a + (1 − d)·w after every step.

    The decay is warmed up, d_t = min(decay, (1 + t)/(10 + t)), so that a short training is not dominated by
    its start. Floating-point buffers (BatchNorm statistics) are averaged alike, integer ones copied.

    >>> layer = nn.Linear(1, 1, bias=False)
    >>> average = WeightAverage(layer, decay=0.5)
    >>> _ = layer.weight.data.add_(1.0)
    >>> average.update_(layer)
    >>> bool(average.model.weight < layer.weight)
    True

    References:
        Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM J. Control 1992.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update_(self, model: nn.Module) -> None:
        """Take one step toward `model`'s present weights."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        present = model.state_dict()
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                value.lerp_(present[name], 1 - decay)
            else:
                value.copy_(present[name])
