"""A convolution or linear layer with rounded weights, and the BatchNorm behind it folded in.

BatchNorm multiplies output channel c by ``γ_c / σ_c``. A symmetric grid per output channel commutes with that:
``round((γ/σ)·w / (|γ/σ|·S)) = ±round(w / S)``. So training rounds the layer's own weights, convolves once, and applies
BatchNorm as it is, with batch statistics; folding multiplies the scales and leaves the integers. There is no second
convolution, and nothing is divided by γ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convslim.quantize.fake import ActivationQuantizer, round_learning
from convslim.quantize.grid import BIAS_MAX, WEIGHT_MAX, Grid, per_channel, symmetric_scale, weight_integers
from convslim.quantize.phase import Phase

CONVOLUTIONS: dict[str, Callable[..., Tensor]] = {"Conv1d": F.conv1d, "Conv2d": F.conv2d, "Conv3d": F.conv3d}


class Folded(NamedTuple):
    """A layer in integers: ``weight_scale[c] · weight[c]``, and the bias in steps of ``weight_scale · S_input``.

    Attributes:
        weight: int8 (C_out, ...).
        weight_scale: float32 (C_out,).
        bias: int32 (C_out,), or None where layer and BatchNorm have none.
        bias_scale: float32 (C_out,).
    """

    weight: Tensor
    weight_scale: Tensor
    bias: Tensor | None
    bias_scale: Tensor


def run(layer: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The layer's arithmetic with other tensors."""
    own: Any = layer
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight, bias)
    convolve = CONVOLUTIONS[f"Conv{weight.dim() - 2}d"]
    return convolve(x, weight, bias, own.stride, own.padding, own.dilation, own.groups)


def accumulate(folded: Folded, layer: nn.Module, x: Tensor, scale: Tensor) -> Tensor:
    """The layer on integers, as kernels compute it: ``S_w·S_x·(Σ q_w·(q_x - Z_x) + q_b)``.

    The sums are float32 numbers, which hold integers below 2²⁴ exactly; autocast is off, bf16 would not hold them.

    Args:
        folded: The layer in integers.
        layer: Its strides and the like.
        x: Numbers of a grid.
        scale: That grid's scale.
    """
    with torch.autocast(x.device.type, enabled=False):
        steps = (x.float() / scale).round_()
        sums = run(layer, steps, folded.weight.float(), None if folded.bias is None else folded.bias.float())
    channels = (
        folded.bias_scale if isinstance(layer, nn.Linear) else per_channel(folded.bias_scale, folded.weight[:, 0])
    )
    return sums * channels


def normalize(norm: nn.Module, x: Tensor, frozen: bool) -> Tensor:
    """BatchNorm, with its running statistics if frozen."""
    own: Any = norm
    if not frozen:
        return own(x)
    return F.batch_norm(x, own.running_mean, own.running_var, own.weight, own.bias, False, 0.0, own.eps)


def affine_of(norm: nn.Module | None, channels: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """``(s, t)`` with ``BN(y) = s·y + t`` in evaluation mode: ``s = γ/√(var + eps)``, ``t = β - s·mean``, (C,) each."""
    own: Any = norm
    if own is None:
        return torch.ones(channels, device=like.device), torch.zeros(channels, device=like.device)
    scale = torch.rsqrt(own.running_var.float() + own.eps)
    if own.weight is not None:
        scale = scale * own.weight.float()
    shift = -own.running_mean.float() * scale
    return scale, shift if own.bias is None else shift + own.bias.float()


class QuantizedLayer(nn.Module):
    """Runs a layer of the user's network, which it is given, with rounded weights.

    It holds no weights of its own, only the scale of the weights where that is fixed (after calibration); without, the
    scale follows from the present weights, ``max|w_c| / 127``.
    """

    scale: Tensor
    fixed: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("fixed", torch.zeros((), dtype=torch.bool))

    def fix_(self, scale: Tensor) -> None:
        """Use these scales, shape (C_out,), from now on."""
        self.scale.copy_(scale)
        self.fixed.fill_(True)

    def learn_(self, scale: Tensor) -> None:
        """Train these scales, shape (C_out,), with the weights."""
        del self.scale
        self.scale = nn.Parameter(scale.detach().clone())
        self.fixed.fill_(True)

    def weight_scale(self, weight: Tensor) -> Tensor:
        """Scale of every output channel of the layer's own weight, (C_out,)."""
        return self.scale.detach().abs() if self.fixed else symmetric_scale(weight.detach().abs().flatten(1).amax(1))

    def rounded(self, weight: Tensor) -> Tensor:
        """The weight on its grid, with a straight-through gradient inside ±127 steps."""
        if isinstance(self.scale, nn.Parameter):
            count = weight[0].numel()
            return round_learning(weight, per_channel(self.scale, weight), -WEIGHT_MAX, WEIGHT_MAX, count)
        scale = self.weight_scale(weight)
        ends = per_channel(scale, weight) * WEIGHT_MAX
        clamped = torch.minimum(torch.maximum(weight, -ends), ends) if self.fixed else weight
        return clamped + (weight_integers(weight, scale) * per_channel(scale, weight) - clamped).detach()

    @torch.no_grad()
    def fold(self, layer: nn.Module, norm: nn.Module | None, grid: Grid) -> Folded:
        """The layer and its BatchNorm in integers, for an input on the given grid.

        A channel whose weights are tiny beside its bias gets a larger scale, so that its bias stays below 2³⁰ steps.
        """
        own: Any = layer
        weight: Tensor = own.weight
        factor, shift = affine_of(norm, len(weight), weight)
        bias = shift if own.bias is None else shift + factor * own.bias.float()
        scale = self.weight_scale(weight)
        folded = scale * factor.abs()
        floor = bias.abs() / (grid.scale * BIAS_MAX)
        tiny = folded < torch.maximum(floor, torch.full_like(floor, torch.finfo(torch.float32).tiny))
        coarse = torch.where(floor > 0, floor, torch.ones_like(floor))
        integers = torch.where(
            per_channel(tiny, weight),
            weight_integers(weight * per_channel(factor.abs(), weight), coarse),
            weight_integers(weight, scale),
        )
        integers = integers * per_channel(torch.where(factor < 0, -1.0, 1.0), weight)
        weight_scale = torch.where(tiny, coarse, folded)
        bias_scale = weight_scale * grid.scale
        has_bias = own.bias is not None or norm is not None
        steps = (bias.double() / bias_scale.double()).round().to(torch.int32) if has_bias else None
        return Folded(integers.to(torch.int8), weight_scale, steps, bias_scale)

    def with_rounded_weight(self, x: Tensor, layer: nn.Module, norm: nn.Module | None) -> Tensor:
        """The layer and its BatchNorm, frozen, on any input: only the weights are rounded."""
        own: Any = layer
        y = run(layer, x, self.rounded(own.weight), own.bias)
        return y if norm is None else normalize(norm, y, frozen=True)

    def forward(
        self, x: Tensor, layer: nn.Module, norm: nn.Module | None, source: ActivationQuantizer, phase: Phase
    ) -> Tensor:
        """The layer and its BatchNorm, on an input from `source`'s grid."""
        own: Any = layer
        if phase.weights and phase.frozen and not self.training:
            return accumulate(self.fold(layer, norm, source.grid()), layer, x, source.grid().scale)
        weight = self.rounded(own.weight) if phase.weights else own.weight
        y = run(layer, x, weight, own.bias)
        return y if norm is None else normalize(norm, y, phase.frozen)
