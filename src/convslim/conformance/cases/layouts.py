"""Channels that change their place in memory: views, flattening, pixels that become channels and the reverse."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convslim.conformance.case import Case, Micro, conv_norm, head, image


def focus(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    parts = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
    return net.head(net.b(torch.cat(parts, 1)).relu())


def pixel_shuffle(net: Any, x: Tensor) -> Tensor:
    return net.head(net.b(F.pixel_shuffle(net.a(x).relu(), 2)).relu())


def pixel_unshuffle(net: Any, x: Tensor) -> Tensor:
    return net.head(net.b(F.pixel_unshuffle(net.a(x).relu(), 2)).relu())


def depth_to_space(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    batch, channels, height, width = x.shape
    x = x.view(batch, 2, 2, channels // 4, height, width).permute(0, 3, 4, 1, 5, 2)
    return net.head(x.reshape(batch, channels // 4, 2 * height, 2 * width))


def maxout(net: Any, x: Tensor) -> Tensor:
    return net.head(net.a(x).unflatten(1, (-1, 2)).amax(2))


def glu(net: Any, x: Tensor) -> Tensor:
    return net.head(F.glu(net.a(x), 1))


def unfold(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    columns = F.unfold(x, 3, padding=1)
    return net.linear(columns.transpose(1, 2))


def fold(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    columns = net.columns(x.flatten(2).transpose(1, 2)).transpose(1, 2)
    return net.head(F.fold(columns, (16, 16), 2, stride=2))


def involution(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    batch, channels, height, width = x.shape
    kernel = net.kernel(x).view(batch, 1, 9, height, width)
    windows = F.unfold(x, 3, padding=1).view(batch, channels, 9, height, width)
    return net.head((kernel * windows).sum(2))


def channels_last_linear(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).permute(0, 2, 3, 1)
    x = net.down(F.gelu(net.up(x)))
    return net.head(x.permute(0, 3, 1, 2))


def patches(net: Any, x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    x = net.up(x.reshape(batch, height * width // 4, -1)).relu()
    return net.linear(x.mean(1))


def flatten(net: Any, x: Tensor) -> Tensor:
    x = F.max_pool2d(net.a(x).relu(), 2)
    return net.linear(net.hidden(x.flatten(1)).relu())


def view_auto(net: Any, x: Tensor) -> Tensor:
    x = F.max_pool2d(net.a(x).relu(), 2)
    return net.linear(net.hidden(x.view(x.size(0), -1)).relu())


def view_fixed(net: Any, x: Tensor) -> Tensor:
    x = F.max_pool2d(net.a(x).relu(), 2)
    return net.linear(net.hidden(x.view(-1, 16 * 16)).relu())


def flatten_channels_last(net: Any, x: Tensor) -> Tensor:
    x = F.max_pool2d(net.a(x).relu(), 2).permute(0, 2, 3, 1)
    return net.linear(net.hidden(x.reshape(x.size(0), -1)).relu())


def generator_auto(net: Any, x: Tensor) -> Tensor:
    return net.head(net.up(net.hidden(x).relu().view(x.size(0), -1, 4, 4)).relu())


def generator_fixed(net: Any, x: Tensor) -> Tensor:
    return net.head(net.up(net.hidden(x).relu().view(-1, 16, 4, 4)).relu())


def detector_view(net: Any, x: Tensor) -> Tensor:
    x = net.head(net.a(x).relu())
    return x.view(x.size(0), 3, 4, *x.shape[2:]).permute(0, 1, 3, 4, 2).contiguous()


def pad_space(net: Any, x: Tensor) -> Tensor:
    x = F.pad(net.a(x).relu(), (1, 2, 0, 1), value=0.5)
    x = F.pad(net.b(x).relu(), (1, 1, 1, 1), mode="replicate")
    return net.head(F.pad(net.c(x).relu(), (1, 1, 1, 1), mode="reflect"))


def warped(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    grid = F.affine_grid(net.theta.expand(x.size(0), 2, 3), list(x.shape), align_corners=False)
    return net.head(F.grid_sample(x, grid, align_corners=False))


def _wide(run: Any, width: int, after: int, **parts: nn.Module) -> nn.Module:
    return Micro(run, a=conv_norm(3, width), head=head(after), **parts)


def _flattening(run: Any) -> nn.Module:
    return Micro(run, a=conv_norm(3, 16), hidden=nn.Linear(256, 20), linear=nn.Linear(20, 5))


def _generating(run: Any) -> nn.Module:
    return Micro(run, hidden=nn.Linear(6, 256), up=nn.ConvTranspose2d(16, 8, 2, 2), head=head(8))


def _affine() -> nn.Parameter:
    return nn.Parameter(torch.tensor([[0.9, 0.1, 0.05], [-0.2, 1.1, -0.03]]))


def _vector(batch: int, seed: int) -> Tensor:
    return image(6, 1)(batch, seed)[..., 0]


LINEAR = ("linear",)

CASES = (
    Case(
        "focus",
        "YOLOv5: four shifted pictures as channels",
        "a.conv",
        lambda: _wide(focus, 8, 12, b=conv_norm(32, 12)),
    ),
    Case(
        "pixel_shuffle",
        "four channels become the pixels of one",
        "a.conv",
        lambda: _wide(pixel_shuffle, 32, 12, b=conv_norm(8, 12)),
    ),
    Case(
        "pixel_unshuffle",
        "the pixels of one channel become four",
        "a.conv",
        lambda: _wide(pixel_unshuffle, 8, 12, b=conv_norm(32, 12)),
    ),
    Case(
        "depth_to_space",
        "the same by view and permute, in another order",
        "a.conv",
        lambda: _wide(depth_to_space, 32, 8),
    ),
    Case("maxout", "neighboring channels in a maximum: pairs", "a.conv", lambda: _wide(maxout, 16, 8)),
    Case("glu", "one half is the gate of the other, in one operation", "a.conv", lambda: _wide(glu, 16, 8)),
    Case(
        "unfold",
        "windows as columns: one channel fills nine inputs",
        "a.conv",
        lambda: Micro(unfold, a=conv_norm(3, 8), linear=nn.Linear(72, 5)),
        outputs=LINEAR,
    ),
    Case(
        "fold",
        "columns back to a map: four features make one channel",
        "columns",
        lambda: Micro(fold, a=conv_norm(3, 8), columns=nn.Linear(8, 40), head=head(10)),
    ),
    Case(
        "involution",
        "windows times kernels that a layer computes for every pixel",
        "a.conv",
        lambda: Micro(involution, a=conv_norm(3, 12), kernel=nn.Conv2d(12, 9, 1), head=head(12)),
    ),
    Case(
        "channels_last_linear",
        "channels in the last dimension and linear layers, as in ConvNeXt",
        "up",
        lambda: _wide(channels_last_linear, 12, 12, up=nn.Linear(12, 24), down=nn.Linear(24, 12)),
    ),
    Case(
        "patches",
        "the image cut in patches, a linear layer on each",
        "up",
        lambda: Micro(patches, up=nn.Linear(12, 20), linear=nn.Linear(20, 5)),
        outputs=LINEAR,
    ),
    Case(
        "flatten",
        "one channel fills 16 inputs of a linear layer",
        "a.conv",
        lambda: _flattening(flatten),
        outputs=LINEAR,
    ),
    Case(
        "view_auto", "the same by view with a computed number", "a.conv", lambda: _flattening(view_auto), outputs=LINEAR
    ),
    Case("view_fixed", "the same by a number in the code", "a.conv", lambda: _flattening(view_fixed), outputs=LINEAR),
    Case(
        "flatten_channels_last",
        "flattened with the channels innermost: a channel's inputs lie far apart",
        "a.conv",
        lambda: _flattening(flatten_channels_last),
        outputs=LINEAR,
    ),
    Case(
        "generator_auto",
        "features of a linear layer become maps",
        "hidden",
        lambda: _generating(generator_auto),
        _vector,
    ),
    Case(
        "generator_fixed",
        "the same with the number of maps in the code",
        "hidden",
        lambda: _generating(generator_fixed),
        _vector,
    ),
    Case(
        "detector_view",
        "the output's channels as anchors times values: they stay, the layer before them need not",
        "a.conv",
        lambda: Micro(detector_view, a=conv_norm(3, 16), head=head(16, 12)),
    ),
    Case(
        "pad_space",
        "padding by a constant, by replication, by reflection",
        "b.conv",
        lambda: _wide(pad_space, 8, 8, b=conv_norm(8, 12), c=conv_norm(12, 8)),
    ),
    Case(
        "grid_sample",
        "a map warped by a learned transformation, whose grid takes the map's shape",
        "a.conv",
        lambda: Micro(warped, a=conv_norm(3, 12), theta=_affine(), head=head(12)),
        channel_dims={"theta": None},
    ),
)
