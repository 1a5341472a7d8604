"""Branches that meet in sums and products: residual trunks, shortcuts of all kinds, gates, re-parametrized branches."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convslim.conformance.case import Case, Micro, conv_norm, head


def plain(net: Any, x: Tensor) -> Tensor:
    return net.head(net.b(net.a(x).relu()).relu())


def residual(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head((net.c(net.b(x).relu()) + x).relu())


def shortcut_b(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head((net.c(net.b(x).relu()) + net.down(x)).relu())


def shortcut_a_fixed(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    padded = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8))
    return net.head((net.c(net.b(x).relu()) + padded).relu())


def shortcut_a_computed(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    y = net.c(net.b(x).relu())
    more = y.size(1) - x.size(1)
    return net.head((y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, more // 2, more - more // 2))).relu())


def shortcut_a_concat(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    small = F.avg_pool2d(x, 2)
    return net.head((net.c(net.b(x).relu()) + torch.cat([small, small * 0], 1)).relu())


def stack_sum(net: Any, x: Tensor) -> Tensor:
    return net.head(torch.stack([net.a(x), net.b(x)]).sum(0).relu())


def stack_max(net: Any, x: Tensor) -> Tensor:
    return net.head(torch.stack([net.a(x), net.b(x)], 2).amax(2))


def gate(net: Any, x: Tensor) -> Tensor:
    return net.head(net.a(x) * torch.sigmoid(net.b(x)))


def gate_resized(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    g = net.g(F.max_pool2d(x, 2)).sigmoid()
    g = F.interpolate(g, size=x.shape[2:], mode="bilinear", align_corners=False)
    return net.head(x * g + x)


def elementwise_mix(net: Any, x: Tensor) -> Tensor:
    a, b, c = net.a(x), net.b(x), net.c(x)
    y = torch.addcmul(a, b, c, value=0.5)
    y = torch.where(y > 0, torch.lerp(y, c, 0.3), torch.maximum(a, b)).clamp(-3, 3)
    return net.head(y / (1 + b.abs()))


def feature_pyramid(net: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    fine = net.a(x).relu()
    coarse = net.lateral2(net.b(fine).relu())
    fine = net.lateral1(fine) + F.interpolate(coarse, scale_factor=2.0, mode="nearest")
    return net.head(fine), net.head(coarse)


def high_resolution(net: Any, x: Tensor) -> Tensor:
    fine, coarse = net.a(x).relu(), net.b(x).relu()
    up = F.interpolate(net.up(coarse), size=fine.shape[2:], mode="nearest")
    fine, coarse = (fine + up).relu(), (coarse + net.down(fine)).relu()
    return net.head(fine + F.interpolate(net.last(coarse), scale_factor=2.0))


def repvgg(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head((net.dense(x) + net.point(x) + net.norm(x)).relu())


def mobile_one(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    x = (sum(branch(x) for branch in net.depthwise) + net.scale(x) + net.norm(x)).relu()
    return net.head(sum(branch(x) for branch in net.pointwise).relu())


def one_channel_added(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head((x + net.mask(x)).relu())


def input_added(net: Any, x: Tensor) -> Tensor:
    return net.head(x + net.b(net.a(x).relu()))


def _block(width: int = 32, stride: int = 2) -> dict[str, nn.Module]:
    return {
        "a": conv_norm(3, 16),
        "b": conv_norm(16, 24, stride=stride),
        "c": conv_norm(24, width),
        "head": head(width),
    }


def _two(outputs: int, **more: nn.Module) -> dict[str, nn.Module]:
    return {"a": conv_norm(3, 16), "b": conv_norm(3, outputs), **more}


def _mobile_one() -> nn.Module:
    return Micro(
        mobile_one,
        a=conv_norm(3, 16),
        depthwise=nn.ModuleList([conv_norm(16, 16, groups=16) for _ in range(3)]),
        scale=conv_norm(16, 16, 1, groups=16),
        norm=nn.BatchNorm2d(16),
        pointwise=nn.ModuleList([conv_norm(16, 12, 1) for _ in range(2)]),
        head=head(12),
    )


CASES = (
    Case(
        "plain",
        "the least that a tool must do: filters of one layer, slices of the next",
        "a.conv",
        lambda: Micro(plain, a=conv_norm(3, 16), b=conv_norm(16, 24), head=head(24)),
    ),
    Case(
        "residual",
        "both sides of a sum lose the same channels",
        "a.conv",
        lambda: Micro(residual, **_block(16, stride=1)),
    ),
    Case(
        "shortcut_b",
        "a sum of two convolutions, one of them the shortcut",
        "c.conv",
        lambda: Micro(shortcut_b, **_block(), down=conv_norm(16, 32, 1, stride=2)),
    ),
    Case(
        "shortcut_a_fixed",
        "CIFAR ResNet: channels padded by a number in the code; 16 channels stand in the middle of 32",
        "a.conv",
        lambda: Micro(shortcut_a_fixed, **_block()),
    ),
    Case(
        "shortcut_a_computed",
        "channels padded by a number that is computed from the two widths",
        "a.conv",
        lambda: Micro(shortcut_a_computed, **_block()),
    ),
    Case(
        "shortcut_a_concat",
        "channels padded by concatenating zeros, which are the channels times zero",
        "a.conv",
        lambda: Micro(shortcut_a_concat, **_block()),
    ),
    Case(
        "stack_sum",
        "a sum written as stack and reduction",
        "a.conv",
        lambda: Micro(stack_sum, **_two(16, head=head(16))),
    ),
    Case(
        "stack_max",
        "a maximum over a new dimension behind the channels",
        "a.conv",
        lambda: Micro(stack_max, **_two(16, head=head(16))),
    ),
    Case("gate", "a product of two branches", "b.conv", lambda: Micro(gate, **_two(16, head=head(16)))),
    Case(
        "gate_resized",
        "a gate that is computed at half the resolution",
        "g",
        lambda: Micro(gate_resized, a=conv_norm(3, 16), g=nn.Conv2d(16, 16, 1), head=head(16)),
    ),
    Case(
        "elementwise_mix",
        "three branches meet in addcmul, lerp, where, maximum and a quotient",
        "c.conv",
        lambda: Micro(elementwise_mix, **_two(16, c=conv_norm(3, 16), head=head(16))),
    ),
    Case(
        "feature_pyramid",
        "a top-down sum over two scales, one head used on both",
        "lateral1",
        lambda: Micro(
            feature_pyramid,
            a=conv_norm(3, 8),
            b=conv_norm(8, 16, stride=2),
            lateral1=nn.Conv2d(8, 12, 1),
            lateral2=nn.Conv2d(16, 12, 1),
            head=head(12),
        ),
    ),
    Case(
        "high_resolution",
        "HRNet: two resolutions that exchange sums both ways",
        "a.conv",
        lambda: Micro(
            high_resolution,
            a=conv_norm(3, 8),
            b=conv_norm(3, 16, stride=2),
            up=conv_norm(16, 8, 1),
            down=conv_norm(8, 16, stride=2),
            last=conv_norm(16, 8, 1),
            head=head(8),
        ),
    ),
    Case(
        "repvgg",
        "three branches, one of them nothing but BatchNorm, tie a layer's inputs to its outputs",
        "dense.conv",
        lambda: Micro(
            repvgg,
            a=conv_norm(3, 16),
            dense=conv_norm(16, 16),
            point=conv_norm(16, 16, 1),
            norm=nn.BatchNorm2d(16),
            head=head(16),
        ),
    ),
    Case("mobile_one", "five depthwise branches in one sum, then two pointwise ones", "a.conv", _mobile_one),
    Case(
        "one_channel_added",
        "a map of one channel is added to all: it couples nothing and stays",
        "a.conv",
        lambda: Micro(one_channel_added, a=conv_norm(3, 16), mask=nn.Conv2d(16, 1, 1), head=head(16)),
    ),
    Case(
        "input_added",
        "a sum with the input, whose channels stay; the layer inside can lose channels",
        "a.conv",
        lambda: Micro(input_added, a=conv_norm(3, 16), b=conv_norm(16, 3), head=head(3)),
    ),
)
