"""Sums over rows from which a least-squares problem is solved, whatever the number of rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Moments:
    """``Σ w``, ``Σ w x``, ``Σ w x xᵀ``, ``Σ w x yᵀ``, ``Σ w y``, ``Σ w y²``, added up in float64, for G conv groups.

    Attributes:
        weight: Scalar.
        x: ``(G, K)``.
        xx: ``(G, K, K)``.
        xy: ``(G, K, M)``.
        y, yy: ``(G, M)``.
    """

    weight: Tensor
    x: Tensor
    xx: Tensor
    xy: Tensor
    y: Tensor
    yy: Tensor

    @classmethod
    def zeros(cls, like: Tensor) -> Moments:
        """Nothing seen yet, for weights of shape ``(G, K, M)``."""
        groups, inputs, outputs = like.shape

        def new(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=like.device)

        return cls(
            new(),
            new(groups, inputs),
            new(groups, inputs, inputs),
            new(groups, inputs, outputs),
            new(groups, outputs),
            new(groups, outputs),
        )

    def add_(self, x: Tensor, y: Tensor, weights: Tensor | None = None) -> None:
        """Add rows.

        Args:
            x: ``(G, R, K)``; without rows nothing is added.
            y: ``(G, R, M)``.
            weights: ``(R,)``, 1 each unless given.
        """
        if not x.shape[1]:
            return
        # float32 products of rows about their own mean, added up in float64: twice as fast as float64 products, and
        # their rounding is 1e-6 of the variance, below every λ.
        kind = torch.promote_types(x.dtype, torch.float32)
        w = torch.ones(x.shape[1], dtype=kind, device=x.device) if weights is None else weights.to(kind)
        x, y = x.to(kind), y.to(kind)
        x_mean, y_mean = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
        x, y = x - x_mean, y - y_mean
        wx = (x if weights is None else x * w[None, :, None]).transpose(1, 2)
        x_sum, y_sum = (w @ x).double(), (w @ y).double()
        squares = (w @ y.square()).double()
        total, x_at, y_at = w.double().sum(), x_mean[:, 0].double(), y_mean[:, 0].double()
        self.weight += total
        self.x += x_sum + total * x_at
        self.xx += wx @ x
        self.xx.baddbmm_(torch.stack([x_sum, x_at], 2), torch.stack([x_at, x_sum + total * x_at], 1))
        self.xy += wx @ y
        self.xy.baddbmm_(torch.stack([x_sum, x_at], 2), torch.stack([y_at, y_sum + total * y_at], 1))
        self.y += y_sum + total * y_at
        self.yy += squares + y_at * (2 * y_sum + total * y_at)

    def __add__(self, other: Moments) -> Moments:
        return Moments(*(getattr(self, name) + getattr(other, name) for name in vars(self)))

    def centered(self) -> Moments:
        """Second moments about the means, divided by the total weight; the means stay."""
        x, y = self.x / self.weight, self.y / self.weight
        return Moments(
            torch.ones_like(self.weight),
            x,
            self.xx / self.weight - x[:, :, None] * x[:, None, :],
            self.xy / self.weight - x[:, :, None] * y[:, None, :],
            y,
            self.yy / self.weight - y.square(),
        )

    def raw(self) -> Moments:
        """Second moments about zero, divided by the total weight; the means are zero."""
        return Moments(
            torch.ones_like(self.weight),
            torch.zeros_like(self.x),
            self.xx / self.weight,
            self.xy / self.weight,
            torch.zeros_like(self.y),
            self.yy / self.weight,
        )


def squared_error(m: Moments, matrix: Tensor, constant: Tensor) -> Tensor:
    """Mean of ``(x W + b - y)²`` by output, ``(G, M)``.

    Args:
        m: Moments about the means, :meth:`Moments.centered`.
        matrix: W, ``(G, K, M)``.
        constant: b, ``(G, M)``.
    """
    spread = m.yy - 2 * (matrix * m.xy).sum(1) + (matrix * (m.xx @ matrix)).sum(1)
    offset = (m.x[:, None] @ matrix)[:, 0] + constant - m.y
    return spread.clamp_min(0) + offset.square()
