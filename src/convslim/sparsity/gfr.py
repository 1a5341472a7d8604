"""The module that relates the channels of a layer to each other: one factor in (0, 1) per channel and image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

START = 0.5
"""Every factor of a new module: σ(0)."""
SLOPE = 4.0
"""1/σ'(0): a new module's factor moves by as much as its logit, and so learns as fast as the scale γ beside it."""
_MIN_HIDDEN = 4


class GlobalFeatureRelation(nn.Module):
    """Scale every channel by what the means of all channels say of it.

    ``z_c = mean of u_c over all positions``, ``s = σ(4·(W2·relu(W1·z + b1) + b2))``, ``y_c = s_c·u_c``, W1 of shape
    (hidden, C) and W2 of shape (C, hidden), hidden = max(C // reduction, 4). W2 and b2 start at zero: s = 0.5 for every
    image, where σ is steepest, until training says otherwise. The 4 could be part of W2 and b2; it makes them learn
    faster.

    Args:
        channels: C.
        reduction: How many times narrower the hidden layer is.

    >>> relation = GlobalFeatureRelation(64)
    >>> relation(torch.ones(2, 64, 8, 8)).unique(), relation.squeeze
    (tensor([0.5000], grad_fn=<Unique2Backward0>), Linear(in_features=64, out_features=4, bias=True))

    References:
        Publication CN112308213A, Hunan University. The closest published module: Hu, Shen and Sun,
        "Squeeze-and-Excitation Networks", CVPR 2018, arXiv:1709.01507.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.reduction = reduction
        hidden = max(channels // reduction, _MIN_HIDDEN)
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)
        nn.init.zeros_(self.excite.weight)
        nn.init.zeros_(self.excite.bias)

    def forward(self, u: Tensor) -> Tensor:
        """(N, C, *positions) → the same shape."""
        if self.training and torch.is_grad_enabled():
            parameters = self.squeeze.weight, self.squeeze.bias, self.excite.weight, self.excite.bias
            scaled: Tensor = _Scale.apply(u, *parameters)
            return scaled
        z = u.mean(tuple(range(2, u.dim()))) if u.dim() > 2 else u
        s = factors_of(self.excite(torch.relu(self.squeeze(z))))
        return u * _spread(s.to(u.dtype), u)


def factors_of(logits: Tensor) -> Tensor:
    """s of what a module's last layer gives."""
    return torch.sigmoid(SLOPE * logits)


class _Scale(torch.autograd.Function):
    """The module's formula with its gradient written out.

    Both passes are bound by memory, and autograd alone goes over the feature map several times more.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        with torch.autocast(u.device.type, enabled=False):
            z = _sum(u).to(w1.dtype) / _positions(u)
            h = torch.relu(torch.addmm(b1, z, w1.t()))
            s = factors_of(torch.addmm(b2, h, w2.t()))
        ctx.save_for_backward(u, z, h, s, w1, w2)
        return u * _spread(s.to(u.dtype), u)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, ...]:
        u, z, h, s, w1, w2 = ctx.saved_tensors
        da = _sum(dy * u).to(s.dtype) * s * (1 - s) * SLOPE
        dh = (da @ w2) * (h > 0)
        dz = (dh @ w1) / _positions(u)
        du = _scaled_and_shifted(dy, s.to(u.dtype), dz.to(u.dtype))
        return du, dh.t() @ z, dh.sum(0), da.t() @ h, da.sum(0)


def _positions(u: Tensor) -> int:
    """Number of positions of a feature map (N, C, *positions)."""
    return u[0, 0].numel() if u.numel() else 1


def _sum(u: Tensor) -> Tensor:
    """Sum over all positions, (N, C); as a matrix, because PyTorch sums channels-last bfloat16 four times slower."""
    if u.dim() == 4 and u.is_contiguous(memory_format=torch.channels_last):
        return u.permute(0, 2, 3, 1).flatten(1, 2).sum(1)
    return u.flatten(2).sum(2) if u.dim() > 2 else u


def _spread(values: Tensor, u: Tensor) -> Tensor:
    """Values (N, C) in the form of a feature map with one position."""
    return values.reshape(*values.shape, *(1 for _ in range(u.dim() - 2)))


def _scaled_and_shifted(dy: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """``dy·scale + shift``, with (N, C) values for scale and shift.

    In channels-last order C values lie side by side. They are repeated to a row of a few hundred, because an operation
    that spreads 16 numbers at a time spends its time between them.
    """
    if dy.dim() != 4 or not dy.is_contiguous(memory_format=torch.channels_last):
        return torch.addcmul(_spread(shift, dy), dy, _spread(scale, dy))
    images, channels, height, width = dy.shape
    times = 1
    while height * width % (2 * times) == 0 and times * channels < 512:
        times *= 2
    rows = dy.permute(0, 2, 3, 1).reshape(images, -1, times * channels)
    done = torch.addcmul(shift.repeat(1, times)[:, None], rows, scale.repeat(1, times)[:, None])
    return done.view(images, height, width, channels).permute(0, 3, 1, 2)
