"""One step of FISTA on an L1 penalty."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Descent(NamedTuple):
    """Where FISTA stands: the point y at which the next gradient is taken, the iterate x, and the inertia t."""

    point: Tensor
    settled: Tensor
    inertia: float


@torch.no_grad()
def fista_step(moved: Tensor, at: Descent, threshold: Tensor, momentum: float = 1.0) -> Descent:
    """Minimize f(m) + λ·Σ|m|: a gradient step from y, the proximal operator of λ|·|, and an extrapolation.

        x⁺ = S(y - η·∇f(y), η·λ),   S(v, τ) = sign(v)·max(|v| - τ, 0)
        t⁺ = (1 + √(1 + 4t²))/2
        y⁺ = x⁺ + min((t - 1)/t⁺, μ)·(x⁺ - x)

    Entries that are zero in x⁺ are zero in y⁺: what is cut is cut in the forward pass too.

    Args:
        moved: y - η·∇f(y).
        at: y, x and t; t is 1 at the start.
        threshold: η·λ, for every entry.
        momentum: μ, the largest weight of the extrapolation; 1 is FISTA as published. Gradients of batches are
            noisy, and a weight near 1 adds all their noise up.

    >>> import torch
    >>> start = Descent(torch.tensor([1.0, 0.1]), torch.tensor([1.0, 0.1]), 1.0)
    >>> step = fista_step(torch.tensor([0.9, 0.1]), start, torch.tensor(0.2))
    >>> [round(value, 3) for value in step.settled.tolist()]
    [0.7, 0.0]

    References:
        Beck and Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse Problems", SIAM
        J. Imaging Sciences 2009.
    """
    settled = moved.sign() * (moved.abs() - threshold).clamp_min(0)
    inertia = (1 + math.sqrt(1 + 4 * at.inertia**2)) / 2
    weight = min((at.inertia - 1) / inertia, momentum)
    point = settled + weight * (settled - at.settled)
    return Descent(point.where(settled != 0, 0.0), settled, inertia)
