"""Activations, pooling and reductions: what looks along the channels, and what leaves each alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convslim.conformance.case import Case, Micro, conv_norm, head


def middle(net: Any, x: Tensor) -> Tensor:
    return net.head(net.middle(net.a(x)).relu())


def along_channels(reduce: Callable[[Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    """Network with one operation on the channels between two convolutions."""

    def run(net: Any, x: Tensor) -> Tensor:
        return net.head(reduce(net.a(x)))

    return run


def centered(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    return net.head(x - x.mean(1, keepdim=True))


def mean_gate(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    return net.head(x * x.mean())


def item_gate(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    return net.head(x * float(x.detach().abs().mean()))


def branch_on_mean(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    return net.head(x.relu() if x.mean() > 0 else x.tanh())


def ones_like(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    return net.head(x + 0.5 * torch.ones_like(x))


def zeros_of_shape(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    return net.head(torch.maximum(x, torch.zeros(x.shape)))


def pools(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    x = F.max_pool2d(x, 3, 1, 1) + F.avg_pool2d(x, 3, 1, 1) + F.adaptive_max_pool2d(x, 1)
    x = net.b(F.adaptive_avg_pool2d(x, (3, 5)).relu())
    return net.linear(x.amax((2, 3)) + x.mean((-2, -1)) + x.flatten(2).std(-1) + x.logsumexp((2, 3)))


def mean_then_norm(net: Any, x: Tensor) -> Tensor:
    pooled = net.norm(net.a(x).relu().mean((2, 3)))
    return net.linear(pooled)


def unpool(net: Any, x: Tensor) -> Tensor:
    x, places = F.max_pool2d(net.a(x), 2, return_indices=True)
    return net.head(F.max_unpool2d(x, places, [2, 2]))


def resizes(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    y = F.interpolate(x, scale_factor=2, mode="bilinear") + F.interpolate(x, size=(16, 16), mode="nearest")
    return net.head(F.interpolate(y, size=(5, 5), mode="bicubic", antialias=True))


def softmax_space(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    return net.head(x.flatten(2).softmax(-1).view_as(x) * x + x.cumsum(2))


def soft_argmax(net: Any, x: Tensor) -> Tensor:
    heat = net.a(x).flatten(2).softmax(-1)
    places = torch.linspace(-1, 1, heat.size(-1))
    return net.linear((heat * places).sum(-1))


def _middle(layer: nn.Module, channels: int = 16) -> nn.Module:
    return Micro(middle, a=nn.Conv2d(3, channels, 3, padding=1), middle=layer, head=head(channels))


def _one(run: Any, after: int = 16) -> nn.Module:
    return Micro(run, a=conv_norm(3, 16), head=head(after))


# Name, what makes it hard, and the layer between two convolutions.
PER_CHANNEL: tuple[tuple[str, str, Callable[[], nn.Module]], ...] = (
    ("prelu_channels", "a learned slope per channel", lambda: nn.PReLU(16)),
    ("prelu_single", "one learned slope for all", lambda: nn.PReLU()),
    (
        "dropout",
        "three kinds of dropout, which do nothing here",
        lambda: nn.Sequential(nn.Dropout(0.5), nn.Dropout2d(0.3), nn.AlphaDropout(0.2)),
    ),
    (
        "activations",
        "seven activations in a row, one in place",
        lambda: nn.Sequential(
            nn.Hardswish(), nn.GELU(), nn.Softplus(), nn.ELU(), nn.SiLU(inplace=True), nn.Mish(), nn.Hardtanh()
        ),
    ),
    (
        "zero_pad",
        "padding and pooling with a ragged border",
        lambda: nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, 2, ceil_mode=True)),
    ),
    ("power_pool", "pooling by a power mean", lambda: nn.LPPool2d(2, 2)),
    ("identity", "a layer that does nothing", lambda: nn.Identity()),
)

# Name, what makes it hard, channels that are left, and the operation.
ALONG_CHANNELS: tuple[tuple[str, str, int, Callable[[Tensor], Tensor]], ...] = (
    ("softmax", "a softmax over the channels", 16, lambda x: x.softmax(1)),
    ("log_softmax", "a log-softmax over the channels", 16, lambda x: F.log_softmax(x, 1)),
    ("cumsum", "running sums over the channels", 16, lambda x: x.cumsum(1)),
    ("normalize_l2", "channels divided by their length", 16, lambda x: F.normalize(x, dim=1)),
    ("sum_channels", "the sum of the channels", 1, lambda x: x.sum(1, keepdim=True)),
    ("max_channels", "the maximum of channels that are mostly negative", 1, lambda x: (x - 4).amax(1, keepdim=True)),
    ("argmax_channels", "the index of the largest channel", 1, lambda x: x.argmax(1, keepdim=True).float()),
    ("variance_channels", "the variance over the channels", 1, lambda x: x.var(1, keepdim=True)),
    ("sort_channels", "channels sorted by value", 16, lambda x: x.sort(1).values),
    ("topk_channels", "the four largest channels", 4, lambda x: x.topk(4, 1).values),
    ("fft_space", "a Fourier transform over space", 16, lambda x: torch.fft.rfft2(x).abs()),
    (
        "boolean_index",
        "a sum over the positive values of all channels",
        16,
        lambda x: x.masked_fill(x < 0, 0.0) * x[x > 0].sum(),
    ),
    (
        "local_response",
        "AlexNet: each channel divided by its neighbors",
        16,
        lambda x: F.local_response_norm(x, 3, alpha=1.0),
    ),
    (
        "pool_channels",
        "the maximum of neighboring channels",
        8,
        lambda x: F.max_pool3d(x.unsqueeze(1), (2, 1, 1)).squeeze(1),
    ),
)

CASES = (
    *(Case(name, hard, "a", lambda layer=layer: _middle(layer())) for name, hard, layer in PER_CHANNEL),  # type: ignore[misc]
    *(
        Case(name, hard, "a.conv", lambda run=run, after=after: _one(along_channels(run), after))  # type: ignore[misc]
        for name, hard, after, run in ALONG_CHANNELS
    ),
    Case("centered", "channels minus their mean", "a.conv", lambda: _one(centered)),
    Case("mean_gate", "all channels times their common mean", "a.conv", lambda: _one(mean_gate)),
    Case("item_gate", "the same with the mean as a Python number", "a.conv", lambda: _one(item_gate)),
    Case("branch_on_mean", "the mean decides which way the code takes", "a.conv", lambda: _one(branch_on_mean)),
    Case("ones_like", "a constant of the map's shape", "a.conv", lambda: _one(ones_like)),
    Case("zeros_of_shape", "a maximum with new zeros of the map's shape", "a.conv", lambda: _one(zeros_of_shape)),
    Case(
        "pools",
        "six kinds of pooling over space",
        "b.conv",
        lambda: Micro(pools, a=conv_norm(3, 16), b=conv_norm(16, 12), linear=nn.Linear(12, 5)),
        outputs=("linear",),
    ),
    Case(
        "pooled_norm",
        "BatchNorm of pooled features",
        "a.conv",
        lambda: Micro(mean_then_norm, a=conv_norm(3, 16), norm=nn.BatchNorm1d(16), linear=nn.Linear(16, 5)),
        outputs=("linear",),
    ),
    Case("unpool", "the indices of a max pooling bring values back", "a.conv", lambda: _one(unpool)),
    Case("resizes", "three kinds of interpolation", "a.conv", lambda: _one(resizes)),
    Case("softmax_space", "a softmax and running sums over space", "a.conv", lambda: _one(softmax_space)),
    Case(
        "soft_argmax",
        "key points: the mean place of each heat map",
        "a.conv",
        lambda: Micro(soft_argmax, a=conv_norm(3, 16), linear=nn.Linear(16, 5)),
        outputs=("linear",),
    ),
)
