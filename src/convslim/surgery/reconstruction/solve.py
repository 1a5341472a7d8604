"""Ridge regression towards given weights, with the strength chosen on rows that the fit does not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convslim.surgery.reconstruction.moments import Moments, squared_error

STRENGTHS = (float("inf"), 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""λ as a fraction of the mean variance of the inputs; with infinity only the constant is new."""


@dataclass(frozen=True, eq=False)
class Fit:
    """New weights of a layer.

    Attributes:
        matrix: W, ``(G, K, M)``.
        constant: b, ``(G, M)``: what the outputs are shifted by.
        strength: λ, relative; infinity where the weights stay and only the constant is new.
        held_before, held_after: Error on the held-out rows by output, ``(G, M)``.
        changed: Outputs that got new weights, ``(G, M)``.
    """

    matrix: Tensor
    constant: Tensor
    strength: float
    held_before: Tensor
    held_after: Tensor
    changed: Tensor


def fit(
    train: Moments,
    held: Moments,
    start: Tensor,
    importance: Tensor,
    *,
    shift: bool,
    strengths: Sequence[float] = STRENGTHS,
) -> Fit:
    """Minimize ``mean (x W + b - y)² + λ |W - W₀|²``; outputs whose held-out error does not fall keep W₀ and b = 0.

    Args:
        train: Rows to fit.
        held: Rows to choose λ on; they are fitted too once it is chosen.
        start: W₀, ``(G, K, M)`` float64.
        importance: Weight of every output's error in the choice of λ, ``(G, M)``.
        shift: Fit a constant b too.
        strengths: Values of λ to choose from.
    """
    zero = torch.zeros_like(importance)
    seen, unseen, both = _about(train, shift=shift), held.centered(), _about(train + held, shift=shift)
    before = squared_error(unseen, start, zero)
    candidates = [(strength, *_solution(seen, start, strength)) for strength in strengths]
    errors = [squared_error(unseen, matrix, constant) for _, matrix, constant in candidates]
    best = min(range(len(candidates)), key=lambda n: _total(errors[n], importance))
    strength, held_after = candidates[best][0], errors[best]
    changed = held_after < before
    matrix, constant = _solution(both, start, strength)
    return Fit(
        torch.where(changed[:, None], matrix, start),
        torch.where(changed, constant, zero),
        strength,
        before,
        torch.where(changed, held_after, before),
        changed,
    )


def _total(error: Tensor, importance: Tensor) -> float:
    total = float((error * importance).sum())
    return total if total == total else float("inf")


def _about(moments: Moments, *, shift: bool) -> Moments:
    return moments.centered() if shift else moments.raw()


def _solution(about: Moments, start: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """W and b for one λ."""
    matrix = start
    if strength != float("inf"):
        matrix = start + solve_ridge(about.xx, about.xy - about.xx @ start, strength)
    constant = about.y - (about.x[:, None] @ matrix)[:, 0]
    return matrix, constant


def solve_ridge(xx: Tensor, xy: Tensor, strength: float) -> Tensor:
    """``(X'X + λ m I)⁻¹ X'Y`` with m the mean of the diagonal of ``X'X``, by conv group.

    By Cholesky; where rounding makes the matrix indefinite, λ grows tenfold until it is not. Inputs that are constant
    get zero.
    """
    num = xx.shape[-1]
    mean = xx.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(torch.finfo(xx.dtype).tiny ** 0.5)
    eye = torch.eye(num, dtype=xx.dtype, device=xx.device)
    for _ in range(12):
        factor, info = torch.linalg.cholesky_ex(xx + (strength * mean)[:, None, None] * eye)
        if not info.any() and torch.isfinite(factor).all():
            return torch.cholesky_solve(xy, factor)
        strength *= 10
    return torch.zeros_like(xy)
