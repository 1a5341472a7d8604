"""One step of FISTA on an L1 penalty."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor


class Descent(NamedTuple):
    """Where FISTA stands: the point y at which the next gradient is taken, the iterate x, and the inertia t."""

    point: Tensor
    settled: Tensor
    inertia: float


def fista_step(at: Descent, gradient: Tensor, rate: float, strength: float, momentum: float = 1.0) -> Descent:
    """Minimize f(m) + λ·Σ|m|: a gradient step from y, the proximal operator of λ|·|, and an extrapolation.

        x⁺ = S(y - η·∇f(y), η·λ),   S(v, τ) = sign(v)·max(|v| - τ, 0)
        t⁺ = (1 + √(1 + 4t²))/2
        y⁺ = x⁺ + min((t - 1)/t⁺, μ)·(x⁺ - x)

    Entries that are zero in x⁺ are zero in y⁺: what is cut is cut in the forward pass too.

    Args:
        at: y, x and t; t is 1 at the start.
        gradient: ∇f(y).
        rate: η.
        strength: λ.
        momentum: μ, the largest weight of the extrapolation; 1 is FISTA as published. Gradients of batches are
            noisy, and a weight near 1 adds all their noise up.

    >>> import torch
    >>> step = fista_step(Descent(torch.tensor([1.0, 0.1]), torch.zeros(2), 1.0), torch.tensor([0.5, 0.0]), 0.2, 1.0)
    >>> [round(value, 3) for value in step.settled.tolist()]
    [0.7, 0.0]

    References:
        Beck and Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse Problems", SIAM
        J. Imaging Sciences 2009.
    """
    moved = at.point - rate * gradient
    settled = moved.sign() * (moved.abs() - rate * strength).clamp_min(0)
    inertia = (1 + math.sqrt(1 + 4 * at.inertia**2)) / 2
    weight = min((at.inertia - 1) / inertia, momentum)
    point = settled + weight * (settled - at.settled)
    return Descent(point.where(settled != 0, 0.0), settled, inertia)
