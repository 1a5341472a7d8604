"""BatchNorm statistics of a candidate, estimated faster than BatchNorm itself estimates them.

A map in the layout channels last is a matrix of one row per position, and PyTorch's kernels work along the rows: with
eleven channels most of a vector register stays empty. The same memory read as rows of sixteen positions, 176 channels
wide, fills it; the statistics of the sixteen parts are then put together:

    μ = mean_j μ_j        σ² = mean_j σ_j² + mean_j (μ_j − μ)²
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

PARTS: Final = 16
KINDS: Final = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def is_plain(norm: nn.Module) -> bool:
    """True for a BatchNorm of PyTorch that does what its class does, on statistics of its own."""
    hooked = bool(norm._forward_hooks or norm._forward_pre_hooks or norm._modules)
    return type(norm) in KINDS and bool(norm.track_running_stats) and not hooked and "forward" not in vars(norm)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of every channel over a batch of maps in the layout channels last, float32.

    >>> x = torch.randn(4, 11, 8, 8).to(memory_format=torch.channels_last)
    >>> mean, variance = moments(x)
    >>> torch.allclose(mean, x.mean((0, 2, 3)), atol=1e-6)
    True
    >>> torch.allclose(variance, x.var((0, 2, 3), unbiased=False), atol=1e-6)
    True
    """
    channels = x.shape[1]
    parts = math.gcd(PARTS, x.numel() // channels)
    zeros = torch.zeros(parts * channels, device=x.device)
    means, variances = torch.batch_norm_update_stats(_widened(x, parts), zeros, torch.ones_like(zeros), 0.0)
    means, variances = means.reshape(parts, channels), variances.reshape(parts, channels)
    mean = means.mean(0)
    return mean, variances.mean(0) + (means - mean).square().mean(0)


def normalized(x: Tensor, mean: Tensor, variance: Tensor, norm: _BatchNorm) -> Tensor:
    """The BatchNorm's output under given statistics, for maps in the layout channels last."""
    channels = x.shape[1]
    parts = math.gcd(PARTS, x.numel() // channels)
    scale = None if norm.weight is None else norm.weight.repeat(parts)
    shift = None if norm.bias is None else norm.bias.repeat(parts)
    wide = F.batch_norm(
        _widened(x, parts), mean.repeat(parts), variance.repeat(parts), scale, shift, False, 0.0, norm.eps
    )
    size, _, height, width = x.shape
    return wide.permute(0, 2, 3, 1).reshape(size, height, width, channels).permute(0, 3, 1, 2)


def _widened(x: Tensor, parts: int) -> Tensor:
    """The same memory with `parts` positions in a row, (1, parts · C, N·H·W/parts, 1)."""
    rows = x.permute(0, 2, 3, 1).reshape(1, -1, 1, parts * x.shape[1])
    return rows.permute(0, 3, 1, 2)


class Estimating(nn.Module):
    """Stands for a BatchNorm while its statistics are estimated: normalizes every batch by its own, and adds them up.

    Args:
        norm: The BatchNorm; what it holds at the time is used.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        self._held = (norm,)  # in a tuple, so that it does not become a submodule
        self.begin_()

    @property
    def norm(self) -> _BatchNorm:
        """What it stands for."""
        return self._held[0]

    def begin_(self) -> None:
        """Forget the batches."""
        self._sums: list[Tensor] = []
        self._batches = 0

    def forward(self, x: Tensor) -> Tensor:
        """γ·(x − μ)/√(σ² + ε) + β with the statistics of the batch."""
        count = x.numel() // x.shape[1]
        if x.dim() != 4 or count < 2 or not x.is_contiguous(memory_format=torch.channels_last) or x.is_cuda:
            output: Tensor = self.norm(x)
            return output
        mean, variance = moments(x)
        return normalized(x, *self.take_(mean, variance, count), self.norm)

    def take_(self, mean: Tensor, variance: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Add the statistics of a batch of `count` positions, and hand them on."""
        found = [mean, variance * (count / (count - 1))]  # BatchNorm keeps the unbiased variance
        self._sums = [old + new for old, new in zip(self._sums, found, strict=True)] if self._sums else found
        self._batches += 1
        return mean, variance

    def end_(self) -> None:
        """Write the average into the BatchNorm; one that did its batches itself has it already."""
        norm = self.norm
        if self._sums and norm.running_mean is not None and norm.running_var is not None:
            norm.running_mean.copy_(self._sums[0] / self._batches)
            norm.running_var.copy_(self._sums[1] / self._batches)


def places_of(network: nn.Module, norms: Sequence[nn.Module]) -> list[tuple[dict[str, nn.Module | None], str, int]]:
    """Where modules stand in a network, with their place in the list."""
    numbers = {id(norm): number for number, norm in enumerate(norms)}
    return [
        (module._modules, leaf, numbers[id(child)])
        for module in network.modules()
        for leaf, child in module._modules.items()
        if id(child) in numbers
    ]
