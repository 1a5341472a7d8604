"""How coefficients move: FISTA beside the optimizer of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from convslim.sparsity.fista import Descent, fista_step
from convslim.sparsity.mask_places import MaskPlaces
from convslim.sparsity.mask_steering import BudgetSteering
from convslim.sparsity.penalty import Parameters

MEMORY: Final = 0.99
"""Weight of the past in the average of gradients; those of single batches would let channels come back by chance."""

STRAIN: Final = 1.03
"""By this factor the bound of λ grows with every step in which it is not enough for the budget, and falls again."""


@dataclass(frozen=True)
class DescentRule:
    """What decides how coefficients move.

    Attributes:
        rate: η of the coefficients while the weights' learning rate is at its peak; it follows that one's schedule.
        peak: The peak learning rate.
        strength: λ; with a steering the bound of λ, which grows while it is not enough.
        momentum: The largest weight of FISTA's extrapolation.
        nonnegative: Whether coefficients end at zero instead of changing their sign.
        floors: The fewest live channels of every group; the largest coefficients are not pressed on.
    """

    rate: float
    peak: float
    strength: float
    momentum: float
    nonnegative: bool
    floors: tuple[int, ...]


class MaskDescent:
    """R(m) = λ·Σ|m_c| on the coefficients of a `MaskedNetwork`, by FISTA after every step of the optimizer.

    The optimizer itself never sees their gradient. A coefficient that is zero still gets one, since the channel is
    computed: it comes back when the average over batches, s ← 0.99·s + 0.01·∂L/∂m, outweighs the bound of λ. The
    smaller λ of a steering presses on live channels only.

    Args:
        places: The network's coefficients.
        rule: How they move.
        steering: Sets λ to what a budget needs; None leaves it at `rule.strength`.
    """

    def __init__(self, places: MaskPlaces, rule: DescentRule, steering: BudgetSteering | None) -> None:
        self.places = places
        self.rule = rule
        self.steering = steering
        self._gradient: Tensor | None = None

    def value(self, parameters: Parameters) -> float:
        """λ·Σ|m_c| with the λ of the last step."""
        return float(parameters["strength"] * parameters["settled"].abs().sum())

    @torch.no_grad()
    def apply_gradient_(self, parameters: Parameters) -> None:
        """Take the coefficients' gradient away from the optimizer."""
        point = parameters["point"]
        self._gradient, point.grad = point.grad, None

    @torch.no_grad()
    def apply_proximal_(self, parameters: Parameters, lr: float) -> None:
        """One step of FISTA."""
        assert self._gradient is not None, "coefficients take part in every forward pass"
        rule, rate = self.rule, self.rule.rate * lr / self.rule.peak
        point, settled, inertia = parameters["point"], parameters["settled"], parameters["inertia"]
        parameters["steps"].add_(1)
        slope = parameters["slope"].mul_(MEMORY).add_(self._gradient, alpha=1 - MEMORY)
        moved = point - rate * torch.where(settled == 0, slope, self._gradient)
        moved = moved.clamp_min(0) if rule.nonnegative else moved
        most = rate * rule.strength * float(parameters["strain"])
        moved = moved.where((settled != 0) | (moved.abs() > most), 0.0)
        exempt = self._exempt(moved)
        threshold = self._threshold(moved, exempt, parameters, most)
        thresholds = torch.where(exempt, 0.0, torch.where(settled == 0, most, threshold)).to(moved)
        step = fista_step(moved, Descent(point, settled, float(inertia)), thresholds, rule.momentum)
        point.copy_(step.point.clamp_min(0) if rule.nonnegative else step.point)
        settled.copy_(step.settled)
        inertia.fill_(step.inertia)
        parameters["strength"].fill_(threshold / rate if rate else 0.0)

    def _threshold(self, moved: Tensor, exempt: Tensor, parameters: Parameters, most: float) -> float:
        if self.steering is None:
            return most
        size, spared = moved.abs().double().cpu().numpy(), exempt.cpu().numpy()
        threshold = self.steering.threshold(size, spared, int(parameters["steps"]), most)
        strain = parameters["strain"]
        strain.mul_(STRAIN if threshold >= most else 1 / STRAIN).clamp_min_(1)
        return threshold

    def _exempt(self, moved: Tensor) -> Tensor:
        """The largest coefficients of every group, as many as have to live."""
        exempt = torch.zeros_like(moved, dtype=torch.bool)
        for part, floor in zip(self.places.slices().values(), self.rule.floors, strict=True):
            exempt[part][moved[part].abs().topk(floor).indices] = True
        return exempt
