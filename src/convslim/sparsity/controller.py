"""The strength of a penalty that a wished sparsity needs: found while training, and no more than that."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from convslim.errors import TrainingError
from convslim.sparsity.penalty import Parameters
from convslim.sparsity.shapes import L1, Shape

ARRIVAL: Final = 0.85
"""Share of the training after which the wished channels should lie under the threshold; the rest holds them there."""

DECIDED: Final = 0.5
"""Share of the training over which the pressure draws back from all channels to those that are to go."""

LANDING: Final = 0.5
"""The wished channels are brought to this part of the threshold, so that noise does not lift them above it again."""

MEMORY: Final = 0.05
"""Share of the training over which the forecast averages how fast the scales fall."""

BOUNDS: Final = (1e-3, 1e6)
"""λ stays between these multiples of the given one."""

BISECTIONS: Final = 30

CHANGE: Final = 1.25
"""The most by which λ grows beyond what it has been, from one step to the next."""


@dataclass(frozen=True)
class Aim:
    """What a controller is to reach.

    Attributes:
        share: Of the penalized channels that lie under the threshold at the end, between 0 and 1.
        threshold: A channel counts as gone when |γ| lies below.
        floor: Share of every layer's channels that is never pressed on, its largest ones; one channel at least.

    Raises:
        TrainingError: If a number makes no sense, or the floors leave too few channels for the share.
    """

    share: float
    threshold: float = 1e-2
    floor: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.share < 1 or not 0 <= self.floor < 1 or self.threshold <= 0:
            raise TrainingError(
                f"A sparsity of {self.share} under a threshold of {self.threshold} with a floor of {self.floor} makes "
                "no sense. The sparsity lies between 0 and 1, the threshold above 0, the floor from 0 to below 1."
            )
        if self.share > 1 - self.floor:
            raise TrainingError(
                f"A sparsity of {self.share} cannot be reached while every layer keeps {self.floor} of its channels. "
                "Wish for less, or lower the floor."
            )


@dataclass
class Controller:
    """Finds the multiple of λ that leads the scales that are to go under the threshold, and no larger one.

    The largest of these scales, the `share` quantile q of all |γ|, is led in a straight line ℓ from where it starts to
    half the threshold, up to 85 % of the training. The multiple is the least one with which the next proximal step
    takes q to ℓ; it grows beyond what it has been by a quarter a step at most, falls and comes back at once, and no
    step takes more channels to zero than the part of the wished share that is due. At first all channels are
    pressed on, and the loss tells them apart; from the middle of the training on only the smallest ones, as many as
    are to go. The others recover.

    Attributes:
        aim: What to reach.
        shape: r.
        multiple: Of λ, now.
        most: The largest multiple so far.
        start: q at the start; NaN before the first step.
        level: q at the last step.
        fall: Change of q per share of the training, averaged over its last twentieth.
        done: Share of the training that was done at the last step.
    """

    aim: Aim
    shape: Shape = L1
    multiple: float = 1.0
    most: float = 1.0
    start: float = math.nan
    level: float = math.nan
    fall: float = 0.0
    done: float = 0.0

    def step_(self, sizes: Tensor, strength: float, lr: float, done: float) -> None:
        """Take the scales into account, before a step of the training.

        Args:
            sizes: |γ| of all penalized channels, (num_channels,).
            strength: λ, without the multiple.
            lr: η of the step.
            done: Share of the training that is done.
        """
        level = float(torch.quantile(sizes.double(), self.aim.share))
        passed = done - self.done
        if math.isnan(self.start):
            self.start = level
        elif passed > 0:
            self.fall += (1 - math.exp(-passed / MEMORY)) * ((level - self.level) / passed - self.fall)
        landing, part = LANDING * self.aim.threshold, min(done / ARRIVAL, 1.0)
        line = self.start + (landing - self.start) * part
        due = float(torch.quantile(sizes.double(), self.aim.share * part))
        needed = min(self._weight(level, line), self._weight(due, 0.0) if part < 1 else math.inf)
        wanted = needed / (lr * strength) if lr * strength > 0 else self.multiple
        self.multiple = min(max(wanted, BOUNDS[0]), self.most * CHANGE, BOUNDS[1])
        self.most = max(self.most, self.multiple)
        self.level, self.done = level, done

    def _weight(self, size: float, target: float) -> float:
        """The least η·λ with which the proximal step takes a scale to a target or below."""
        if size <= target:
            return 0.0
        start = torch.tensor(size, dtype=torch.float64)
        low, high = 0.0, size / float(self.shape.slope(start))  # x = a - t·r'(x) ≤ a - t·r'(a), since slopes fall
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            enough = float(self.shape.shrunk(start, torch.tensor(middle, dtype=torch.float64))) <= target
            low, high = (low, middle) if enough else (middle, high)
        return high

    def pressed_share(self) -> float:
        """Share of the channels that are pressed on now, the smallest ones."""
        return self.aim.share + (1 - self.aim.share) * max(1 - self.done / DECIDED, 0.0)

    def forecast(self, sizes: Tensor) -> int:
        """Channels that will lie under the threshold at the end if scales go on falling as they lately did."""
        rest = min(self.fall, 0.0) * (1 - self.done)
        return int((sizes + rest < self.aim.threshold).sum())

    def state(self) -> dict[str, float]:
        """What a resumed training has to know; NaN, which JSON has not, is left out."""
        values = {name: getattr(self, name) for name in ("multiple", "most", "start", "level", "fall", "done")}
        return {name: value for name, value in values.items() if not math.isnan(value)}

    def restore_(self, state: Mapping[str, float]) -> None:
        """Go on where another controller stood."""
        for name, value in state.items():
            setattr(self, name, value)


def pressed(parameters: Parameters, strengths: Mapping[str, Tensor], share: float, floor: float) -> dict[str, Tensor]:
    """λ where it is in force: on the smallest scales of all, and on none of the largest of every layer.

    Args:
        parameters: The scales, by name.
        strengths: λ of every channel; none is pressed on where it is 0.
        share: Of the channels, from the smallest up.
        floor: Share of every layer's channels that is spared; one channel at least.

    >>> pressed({"w": torch.tensor([3.0, 1.0, 2.0])}, {"w": torch.ones(3)}, 1.0, 0.1)["w"].tolist()
    [0.0, 1.0, 1.0]
    """
    sizes = {
        name: torch.where(strength > 0, parameters[name].detach().to(strength.device).abs(), -1.0)
        for name, strength in strengths.items()
    }
    all_sizes = torch.cat([size[size >= 0] for size in sizes.values()])
    limit = torch.quantile(all_sizes.double(), share)
    left = {}
    for name, strength in strengths.items():
        size = sizes[name].flatten()
        count = max(math.ceil(floor * int((size >= 0).sum())), 1)
        chosen = torch.where(size <= limit, strength.flatten(), 0.0).index_fill(0, size.topk(count).indices, 0.0)
        left[name] = chosen.reshape(strength.shape)
    return left
