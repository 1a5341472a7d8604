"""Normalization: over space, over the batch, over channels; scales and shifts, stored in every way."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convslim.conformance.case import Case, Micro, conv_norm, head, parameter


class OwnBatchNorm(nn.Module):
    """A batch normalization written by hand, with buffers of its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(0.5 + torch.rand(channels)), parameter(channels)
        self.mean, self.variance = (nn.Buffer(torch.rand(1, channels, 1, 1) + shift) for shift in (-0.5, 0.5))

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.mean) / torch.sqrt(self.variance + 1e-5)
        return x * self.gamma[None, :, None, None] + self.beta[None, :, None, None]


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of a (batch, channels, height, width) map."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class OwnLayerNorm(nn.Module):
    """ConvNeXt's channels-first normalization, written with means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(0.5 + torch.rand(channels)), parameter(channels)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + 1e-6)
        return self.gamma[:, None, None] * x + self.beta[:, None, None]


class GlobalResponseNorm(nn.Module):
    """ConvNeXt V2's GRN, channels first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma, self.beta = parameter(1, channels, 1, 1), parameter(1, channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        length = x.norm(p=2, dim=(2, 3), keepdim=True)
        length = length / (length.mean(1, keepdim=True) + 1e-6)
        return self.gamma * (x * length) + self.beta + x


class FilterResponseNorm(nn.Module):
    """Filter response normalization: every channel by its own mean square, with a learned threshold."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma, self.beta, self.tau = (parameter(1, channels, 1, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = x * torch.rsqrt(x.square().mean((2, 3), keepdim=True) + 1e-6)
        return torch.maximum(self.gamma * x + self.beta, self.tau)


def middle(net: Any, x: Tensor) -> Tensor:
    return net.head(net.middle(net.a(x)).relu())


def group_norm_of_two(net: Any, x: Tensor) -> Tensor:
    return net.head(net.norm(torch.cat([net.a(x), net.b(x)], 1)).relu())


def layer_norm_space(net: Any, x: Tensor) -> Tensor:
    return net.head(F.layer_norm(net.a(x), (8, 8), net.weight).relu())


def layer_norm_all(net: Any, x: Tensor) -> Tensor:
    return net.head(net.norm(net.a(x)).relu())


def rms_norm(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).permute(0, 2, 3, 1)
    return net.head(net.norm(x).permute(0, 3, 1, 2))


def convnext(net: Any, x: Tensor) -> Tensor:
    x = net.stem(x)
    y = net.norm(net.depthwise(x).permute(0, 2, 3, 1))
    y = net.down(F.gelu(net.up(y))) * net.gamma
    return net.head(x + y.permute(0, 3, 1, 2))


def layer_scale(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head(x + net.b(x) * net.gamma)


def layer_scale_viewed(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head(x + net.b(x) * net.gamma.view(1, -1, 1, 1))


def layer_scale_fixed(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head(x + net.b(x) * net.gamma.view(1, 16, 1, 1))


def scalar_scale(net: Any, x: Tensor) -> Tensor:
    return net.head(net.a(x) * net.gamma + net.gamma)


def buffer_scale(net: Any, x: Tensor) -> Tensor:
    return net.head((net.a(x) - net.shift) / net.scale[None, :, None, None])


def plain_tensor(net: Any, x: Tensor) -> Tensor:
    return net.head(net.a(x) * net.constants[0])


def new_constant(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    return net.head(x * torch.linspace(0.5, 1.5, 16).view(1, 16, 1, 1))


def weight_norm_of_map(net: Any, x: Tensor) -> Tensor:
    return net.head(F.normalize(net.a(x), dim=1) * net.gamma)


def _middle(layer: nn.Module, channels: int = 16) -> nn.Module:
    return Micro(middle, a=nn.Conv2d(3, channels, 3, padding=1), middle=layer, head=head(channels))


def _one(run: Any, **parts: Any) -> nn.Module:
    return Micro(run, a=conv_norm(3, 16), head=head(16), **parts)


def _convnext() -> nn.Module:
    parts = {"depthwise": nn.Conv2d(12, 12, 3, padding=1, groups=12), "norm": nn.LayerNorm(12)}
    parts |= {"up": nn.Linear(12, 24), "down": nn.Linear(24, 12)}
    return Micro(convnext, stem=nn.Conv2d(3, 12, 3, padding=1), **parts, gamma=parameter(12), head=head(12))


# Name, what makes it hard, and the layer between two convolutions.
MIDDLE: tuple[tuple[str, str, Any], ...] = (
    ("batch_norm_plain", "BatchNorm without coefficients", lambda: nn.BatchNorm2d(16, affine=False)),
    (
        "batch_norm_batch_statistics",
        "BatchNorm that always takes the batch's statistics",
        lambda: nn.BatchNorm2d(16, track_running_stats=False),
    ),
    ("batch_norm_cumulative", "BatchNorm with a cumulative average", lambda: nn.BatchNorm2d(16, momentum=None)),
    ("own_batch_norm", "BatchNorm written by hand: statistics in four-dimensional buffers", lambda: OwnBatchNorm(16)),
    ("instance_norm", "statistics per image and channel", lambda: nn.InstanceNorm2d(16, affine=True)),
    ("instance_norm_plain", "the same without coefficients", lambda: nn.InstanceNorm2d(16)),
    (
        "instance_norm_tracked",
        "the same with running statistics",
        lambda: nn.InstanceNorm2d(16, affine=True, track_running_stats=True),
    ),
    ("filter_response_norm", "mean squares per channel, and a learned threshold", lambda: FilterResponseNorm(16)),
    ("group_norm", "four sets of channels share statistics and stay equally large", lambda: nn.GroupNorm(4, 16)),
    ("group_norm_pairs", "eight sets of two channels", lambda: nn.GroupNorm(8, 16)),
    ("group_norm_single", "all channels share statistics", lambda: nn.GroupNorm(1, 16)),
    ("group_norm_each", "every channel for itself, but the number of sets is fixed", lambda: nn.GroupNorm(16, 16)),
    ("layer_norm_2d", "LayerNorm over channels behind a permute", lambda: LayerNorm2d(16)),
    ("own_layer_norm", "LayerNorm over channels, written with means", lambda: OwnLayerNorm(16)),
    ("global_response_norm", "ConvNeXt V2: each channel's length by the mean length", lambda: GlobalResponseNorm(16)),
)

CASES = (
    *(Case(name, hard, "a", lambda layer=layer: _middle(layer())) for name, hard, layer in MIDDLE),  # type: ignore[misc]
    Case(
        "group_norm_of_two",
        "the sets of a GroupNorm reach across two concatenated branches",
        "a.conv",
        lambda: Micro(
            group_norm_of_two, a=conv_norm(3, 12), b=conv_norm(3, 12), norm=nn.GroupNorm(4, 24), head=head(24)
        ),
    ),
    Case("rms_norm", "the root mean square over the channels", "a.conv", lambda: _one(rms_norm, norm=nn.RMSNorm(16))),
    Case(
        "convnext",
        "a depthwise layer, LayerNorm over channels, two linear layers, a scale, and a residual",
        "stem",
        _convnext,
        channel_dims={"gamma": 0},
    ),
    Case(
        "layer_norm_space",
        "LayerNorm over space only",
        "a.conv",
        lambda: _one(layer_norm_space, weight=parameter(8, 8)),
        channel_dims={"weight": None},
    ),
    Case(
        "layer_norm_all",
        "LayerNorm over channels and space, with a coefficient for every element",
        "a.conv",
        lambda: _one(layer_norm_all, norm=nn.LayerNorm((16, 8, 8))),
    ),
    Case(
        "normalize_scaled",
        "channels divided by their length, with a learned scale (SSD)",
        "a.conv",
        lambda: _one(weight_norm_of_map, gamma=parameter(1, 16, 1, 1)),
        channel_dims={"gamma": 1},
    ),
    Case(
        "layer_scale",
        "a raw parameter per channel on a residual branch",
        "a.conv",
        lambda: _one(layer_scale, b=conv_norm(16, 16), gamma=parameter(16, 1, 1)),
        channel_dims={"gamma": 0},
    ),
    Case(
        "layer_scale_viewed",
        "the same by a computed view",
        "a.conv",
        lambda: _one(layer_scale_viewed, b=conv_norm(16, 16), gamma=parameter(16)),
        channel_dims={"gamma": 0},
    ),
    Case(
        "layer_scale_fixed",
        "the same by a view with the width in the code",
        "a.conv",
        lambda: _one(layer_scale_fixed, b=conv_norm(16, 16), gamma=parameter(16)),
        channel_dims={"gamma": 0},
    ),
    Case(
        "scalar_scale",
        "one number for all channels",
        "a.conv",
        lambda: _one(scalar_scale, gamma=parameter(1)),
        channel_dims={"gamma": None},
    ),
    Case(
        "buffer_scale",
        "shift and scale in buffers of different shapes",
        "a.conv",
        lambda: _one(buffer_scale, shift=torch.randn(1, 16, 1, 1), scale=1 + torch.rand(16)),
    ),
    Case(
        "plain_tensor",
        "a factor per channel in a tensor that is neither parameter nor buffer",
        "a.conv",
        lambda: _one(plain_tensor, constants=[torch.linspace(0.5, 1.5, 16).view(16, 1, 1)]),
    ),
    Case("new_constant", "a factor per channel that the code makes anew", "a.conv", lambda: _one(new_constant)),
)
