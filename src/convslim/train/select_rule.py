"""What channel self-selection does beside training: data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from convslim.channels.graph import ChannelGroup
from convslim.errors import TrainingError
from convslim.sparsity.mask_places import MaskPlaces

Init = Literal["ones", "uniform", "normal"]
BUDGET_STRENGTH = 0.3
RAMP = 0.7


@dataclass(frozen=True)
class SelectRule:
    """How coefficients start and move, when channels go for good, and how often.

    Attributes:
        budget: `macs` and `params`, each a float in (0, 1], a fraction of the network, or an int above 1. Without a
            budget `strength` alone decides how many channels stay.
        strength: λ of λ·Σ|m|; with a budget the most that λ may be, 0.3 unless given.
        init: Coefficients start at 1, from U(0, 1), or from N(0, 1). Those from N(0, 1) may be negative.
        mask_lr: Peak learning rate of the coefficients; it follows the schedule of the weights' rate.
        mask_momentum: The largest weight of FISTA's extrapolation.
        stable_epochs: Channels go for good when the same ones were cut for so many epochs.
        select_epochs: Coefficients are trained for so many epochs at most, all rounds together; None is half of all.
        rounds: How many times channels may go for good.
        round_to, min_channels, min_ratio, keep: As for `convslim.allocate`.
    """

    budget: Mapping[str, float] | None = None
    strength: float | None = None
    init: Init = "ones"
    mask_lr: float = 0.1
    mask_momentum: float = 0.0
    stable_epochs: int = 5
    select_epochs: int | None = None
    rounds: int = 3
    round_to: int = 8
    min_channels: int = 1
    min_ratio: float = 0.1
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.budget is None and self.strength is None:
            raise TrainingError(
                "Self-selection needs a budget or a strength: how much may remain, such as {'macs': 0.5}, or how hard "
                "the coefficients are pressed on, such as strength=0.01. Give one of them."
            )

    @property
    def pressure(self) -> float:
        """λ, or the most that it may be."""
        return BUDGET_STRENGTH if self.strength is None else self.strength

    def floor(self, group: ChannelGroup) -> int:
        """The fewest channels that a group keeps."""
        return min(max(self.min_channels, math.ceil(self.min_ratio * group.num_channels), 1), group.num_channels)

    def last_epoch(self, epochs: int) -> int:
        """How many of all epochs train coefficients at most."""
        return min(self.select_epochs or max(epochs // 2, 1), epochs)

    def start(self, places: MaskPlaces, seed: int) -> Tensor:
        """The first coefficients, shape `(places.total,)`."""
        generator = torch.Generator().manual_seed(seed)
        if self.init == "uniform":
            return torch.rand(places.total, generator=generator)
        if self.init == "normal":
            return torch.randn(places.total, generator=generator)
        return torch.ones(places.total)
