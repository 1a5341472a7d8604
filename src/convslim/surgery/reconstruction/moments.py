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
            x: ``(G, R, K)``.
            y: ``(G, R, M)``.
            weights: ``(R,)``, 1 each unless given.
        """
        # float32 products of one batch, added up in float64: twice as fast, and 1e-6 of a sum is below every λ.
        kind = torch.promote_types(x.dtype, torch.float32)
        x, y = x.to(kind), y.to(kind)
        wx = x if weights is None else x * weights.to(kind)[None, :, None]
        ones = torch.ones(x.shape[1], dtype=kind, device=x.device) if weights is None else weights.to(kind)
        self.weight += ones.double().sum()
        self.x += ones @ x
        self.xx += wx.transpose(1, 2) @ x
        self.xy += wx.transpose(1, 2) @ y
        self.y += ones @ y
        self.yy += ones @ y.square()

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


def squared_error(moments: Moments, matrix: Tensor, constant: Tensor) -> Tensor:
    """Mean of ``(x W + b - y)²`` by output, ``(G, M)``.

    Args:
        moments: Sums over rows.
        matrix: W, ``(G, K, M)``.
        constant: b, ``(G, M)``.
    """
    m = moments.centered()
    spread = m.yy - 2 * (matrix * m.xy).sum(1) + (matrix * (m.xx @ matrix)).sum(1)
    offset = (m.x[:, None] @ matrix)[:, 0] + constant - m.y
    return spread.clamp_min(0) + offset.square()
