"""Integers for real numbers: scale and zero point of a range, rounding to the grid, and back.

A real number r and its integer q are tied by ``r = S·(q - Z)`` with a scale S > 0 and an integer zero point Z, so that
0 has an integer of its own (Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018). Activations are affine, unsigned 8 bits; weights symmetric, Z = 0,
signed 8 bits without -128. Rounding is to the nearest integer, ties to even, as ONNX's QuantizeLinear does it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

ACTIVATION_LEVELS = 255
"""Activations are integers 0…255: what runtimes multiply fastest with signed weights."""

WEIGHT_MAX = 127
"""Weights are integers -127…127."""

BIAS_MAX = 2**30
"""Biases stay below half of an int32, so that the accumulator has room."""


_BLOCK = 2**17


class Grid(NamedTuple):
    """The 256 real numbers ``scale · (q - zero_point)``, q = 0…255; both are float32 tensors of no dimension."""

    scale: Tensor
    zero_point: Tensor

    @property
    def low(self) -> Tensor:
        """The smallest of them."""
        return -self.zero_point * self.scale

    @property
    def high(self) -> Tensor:
        """The largest of them."""
        return (ACTIVATION_LEVELS - self.zero_point) * self.scale


def affine_grid(low: Tensor, high: Tensor) -> Grid:
    """The grid of a range: ``S = (high - low) / 255``, ``Z = round(-low / S)``, the range widened to hold 0.

    Args:
        low, high: Ends of the range, float tensors of no dimension. An empty range gets S = 1.

    >>> grid = affine_grid(torch.tensor(-1.0), torch.tensor(1.55))
    >>> round(float(grid.scale), 4), int(grid.zero_point)
    (0.01, 100)
    >>> affine_grid(torch.tensor(0.5), torch.tensor(2.55)).zero_point
    tensor(0.)
    """
    low, high = low.float().clamp(max=0), high.float().clamp(min=0)
    scale = (high - low) / ACTIVATION_LEVELS
    scale = torch.where(scale > torch.finfo(torch.float32).tiny, scale, torch.ones_like(scale))
    return Grid(scale, (0 - low / scale).round().clamp(0, ACTIVATION_LEVELS))


def symmetric_scale(bound: Tensor) -> Tensor:
    """``S = bound / 127`` for weights within ±bound, of any shape; 1 where the bound is 0.

    >>> symmetric_scale(torch.tensor([12.7, 0.0]))
    tensor([0.1000, 1.0000])
    """
    scale = bound.float() / WEIGHT_MAX
    return torch.where(scale > torch.finfo(torch.float32).tiny, scale, torch.ones_like(scale))


def to_integers(x: Tensor, grid: Grid) -> Tensor:
    """``clamp(round(x / S) + Z, 0, 255)``, as float32 like x.

    >>> to_integers(torch.tensor([-9.0, 0.0, 0.26, 9.0]), Grid(torch.tensor(0.1), torch.tensor(10.0)))
    tensor([  0.,  10.,  13., 100.])
    """
    return (x.float() / grid.scale).round_().add_(grid.zero_point).clamp_(0, ACTIVATION_LEVELS)


def snap(x: Tensor, grid: Grid) -> Tensor:
    """The number of the grid nearest to x, ``S · (to_integers(x) - Z)``, in x's own data type.

    >>> snap(torch.tensor([-9.0, 0.26]), Grid(torch.tensor(0.1), torch.tensor(10.0)))
    tensor([-1.0000,  0.3000])
    """
    if x.dtype == torch.float32 or x.numel() <= _BLOCK or x.device.type != "cpu":
        return _snapped(x, grid).to(x.dtype)
    x = x if _dense(x).is_contiguous() else x.contiguous()
    out = torch.empty_like(x)
    # Float32 copies of half-precision numbers are made in pieces that stay in the cache.
    for piece, filled in zip(_dense(x).view(-1).split(_BLOCK), _dense(out).view(-1).split(_BLOCK), strict=True):
        filled.copy_(_snapped(piece, grid))
    return out


def _snapped(x: Tensor, grid: Grid) -> Tensor:
    low, high = -grid.zero_point, ACTIVATION_LEVELS - grid.zero_point
    return (x.float() / grid.scale).round_().clamp_(low, high).mul_(grid.scale)


def _dense(x: Tensor) -> Tensor:
    """The same numbers in the order of memory, for channels-last images."""
    return x.permute(0, 2, 3, 1) if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) else x


def weight_integers(weight: Tensor, scale: Tensor) -> Tensor:
    """``clamp(round(w / S), -127, 127)`` as float32, S given per output channel (dimension 0).

    >>> weight_integers(torch.tensor([[1.0, -0.26], [9.0, 0.0]]), torch.tensor([0.1, 0.05]))
    tensor([[ 10.,  -3.],
            [127.,   0.]])
    """
    return (weight.float() / per_channel(scale, weight)).round().clamp(-WEIGHT_MAX, WEIGHT_MAX)


def per_channel(values: Tensor, weight: Tensor) -> Tensor:
    """Values of output channels, shape (C,), as they multiply a weight (C, ...)."""
    return values.reshape(-1, *[1] * (weight.dim() - 1))
