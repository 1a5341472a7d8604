"""Normalization, activation and reduction: what looks along the channels, and what leaves them alone."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .case import Case, Micro, conv_norm, head, image, parameter


def middle(net: Any, x: Tensor) -> Tensor:
    return net.head(net.middle(net.a(x)).relu())


def layer_norm_last(net: Any, x: Tensor) -> Tensor:
    x = net.norm(net.a(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return net.head(x.relu())


def layer_norm_space(net: Any, x: Tensor) -> Tensor:
    return net.head(F.layer_norm(net.a(x), (8, 8), net.weight).relu())


def rms_norm(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).permute(0, 2, 3, 1)
    return net.head(net.norm(x).permute(0, 3, 1, 2))


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


def ones_like(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    return net.head(x + 0.5 * torch.ones_like(x))


def zeros_of_shape(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    return net.head(torch.maximum(x, torch.zeros(x.shape)))


def in_place(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    x += net.b(x.relu())
    x.mul_(0.5).sub_(0.1).relu_()
    return net.head(x)


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


def along_channels(reduce: Callable[[Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    """Network with one operation on the channels between two convolutions."""

    def run(net: Any, x: Tensor) -> Tensor:
        return net.head(reduce(net.a(x)))

    return run


def pools(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    x = F.max_pool2d(x, 3, 1, 1) + F.avg_pool2d(x, 3, 1, 1) + F.adaptive_max_pool2d(x, 1)
    x = net.b(F.adaptive_avg_pool2d(x, (3, 5)).relu())
    return net.linear(x.amax((2, 3)) + x.mean((-2, -1)) + x.flatten(2).std(-1) + x.logsumexp((2, 3)))


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


def _middle(layer: nn.Module, channels: int = 16) -> nn.Module:
    return Micro(middle, a=nn.Conv2d(3, channels, 3, padding=1), middle=layer, head=head(channels))


def _one(run: Any, channels: int = 16, after: int | None = None, **parts: Any) -> nn.Module:
    return Micro(run, a=conv_norm(3, channels), head=head(channels if after is None else after), **parts)


PER_CHANNEL = {
    "batch_norm_plain": lambda: nn.BatchNorm2d(16, affine=False),
    "batch_norm_batch_statistics": lambda: nn.BatchNorm2d(16, track_running_stats=False),
    "batch_norm_cumulative": lambda: nn.BatchNorm2d(16, momentum=None),
    "instance_norm": lambda: nn.InstanceNorm2d(16, affine=True),
    "instance_norm_plain": lambda: nn.InstanceNorm2d(16),
    "instance_norm_tracked": lambda: nn.InstanceNorm2d(16, affine=True, track_running_stats=True),
    "prelu_channels": lambda: nn.PReLU(16),
    "prelu_single": lambda: nn.PReLU(),
    "dropout": lambda: nn.Sequential(nn.Dropout(0.5), nn.Dropout2d(0.3), nn.AlphaDropout(0.2)),
    "activations": lambda: nn.Sequential(
        nn.Hardswish(), nn.GELU(), nn.Softplus(), nn.ELU(), nn.SiLU(inplace=True), nn.Mish(), nn.Hardtanh()
    ),
    "zero_pad": lambda: nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, 2, ceil_mode=True)),
    "power_pool": lambda: nn.LPPool2d(2, 2),
    "identity": lambda: nn.Identity(),
}

ALONG_CHANNELS: dict[str, tuple[Callable[[Tensor], Tensor], int, str]] = {
    "softmax": (lambda x: x.softmax(1), 16, "softmax"),
    "log_softmax": (lambda x: F.log_softmax(x, 1), 16, "softmax"),
    "cumsum": (lambda x: x.cumsum(1), 16, "cumsum"),
    "normalize_l2": (lambda x: F.normalize(x, dim=1), 16, "norm"),
    "sum_channels": (lambda x: x.sum(1, keepdim=True), 1, "sum"),
    "max_channels": (lambda x: x.amax(1, keepdim=True), 1, "max"),
    "argmax_channels": (lambda x: x.argmax(1, keepdim=True).float(), 1, "argmax"),
    "variance_channels": (lambda x: x.var(1, keepdim=True), 1, "var"),
    "sort_channels": (lambda x: x.sort(1).values, 16, "sort"),
    "topk_channels": (lambda x: x.topk(4, 1).values, 4, "topk"),
    "fft_space": (lambda x: torch.fft.rfft2(x).abs(), 16, "fft"),
    "boolean_index": (lambda x: x.masked_fill(x < 0, 0.0) * x[x > 0].sum(), 16, "index"),
    "local_response": (lambda x: F.local_response_norm(x, 3), 16, ""),
    "pool_channels": (lambda x: F.max_pool3d(x.unsqueeze(1), (2, 1, 1)).squeeze(1), 8, "pool"),
}

CASES = (
    *(
        Case(name, lambda layer=layer: _middle(layer()), prunes=(("a", 16),))  # type: ignore[misc]
        for name, layer in PER_CHANNEL.items()
    ),
    *(
        Case(name, lambda run=run, after=after: _one(along_channels(run), 16, after), pinned={"a.conv": why})  # type: ignore[misc]
        for name, (run, after, why) in ALONG_CHANNELS.items()
    ),
    Case("group_norm", lambda: _middle(nn.GroupNorm(4, 16)), pinned={"a": "norm"}),
    Case("group_norm_single", lambda: _middle(nn.GroupNorm(1, 16)), pinned={"a": "norm"}),
    Case("layer_norm_last", lambda: _one(layer_norm_last, norm=nn.LayerNorm(16)), pinned={"a.conv": "norm"}),
    Case("rms_norm", lambda: _one(rms_norm, norm=nn.RMSNorm(16)), pinned={"a.conv": "norm|mean"}),
    Case(
        "layer_norm_space",
        lambda: _one(layer_norm_space, weight=parameter(8, 8)),
        prunes=(("a.conv", 16),),
    ),
    Case(
        "layer_scale",
        lambda: _one(layer_scale, b=conv_norm(16, 16), gamma=parameter(16, 1, 1)),
        prunes=(("a.conv b.conv", 16),),
    ),
    Case(
        "layer_scale_viewed",
        lambda: _one(layer_scale_viewed, b=conv_norm(16, 16), gamma=parameter(16)),
        prunes=(("a.conv b.conv", 16),),
    ),
    Case(
        "layer_scale_fixed",
        lambda: _one(layer_scale_fixed, b=conv_norm(16, 16), gamma=parameter(16)),
        pinned={"a.conv": "view", "b.conv": "view"},
    ),
    Case("scalar_scale", lambda: _one(scalar_scale, gamma=parameter(1)), prunes=(("a.conv", 16),)),
    Case(
        "buffer_scale",
        lambda: _one(buffer_scale, shift=torch.randn(1, 16, 1, 1), scale=1 + torch.rand(16)),
        prunes=(("a.conv", 16),),
    ),
    Case(
        "plain_tensor",
        lambda: _one(plain_tensor, constants=[torch.linspace(0.5, 1.5, 16).view(16, 1, 1)]),
        pinned={"a.conv": ""},
    ),
    Case("new_constant", lambda: _one(new_constant), pinned={"a.conv": ""}),
    Case("ones_like", lambda: _one(ones_like), prunes=(("a.conv", 16),)),
    Case("zeros_of_shape", lambda: _one(zeros_of_shape), prunes=(("a.conv", 16),)),
    Case("in_place", lambda: _one(in_place, b=conv_norm(16, 16)), prunes=(("a.conv b.conv", 16),)),
    Case("centered", lambda: _one(centered), pinned={"a.conv": "mean"}),
    Case("mean_gate", lambda: _one(mean_gate), pinned={"a.conv": "mean"}),
    Case("item_gate", lambda: _one(item_gate), pinned={"a.conv": "mean"}),
    Case("branch_on_mean", lambda: _one(branch_on_mean), pinned={"a.conv": "mean"}),
    Case(
        "pools",
        lambda: Micro(pools, a=conv_norm(3, 16), b=conv_norm(16, 12), linear=nn.Linear(12, 5)),
        prunes=(("a.conv", 16), ("b.conv", 12)),
    ),
    Case("unpool", lambda: _one(unpool), prunes=(("a.conv", 16),)),
    Case("resizes", lambda: _one(resizes), prunes=(("a.conv", 16),), example=image(3, 8, 8)),
    Case("softmax_space", lambda: _one(softmax_space), prunes=(("a.conv", 16),)),
)
