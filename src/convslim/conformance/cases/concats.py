"""Concatenations: channels that move to other positions, once or several times."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convslim.conformance.case import Case, Micro, conv_norm, head, image, up_norm


def concat(net: Any, x: Tensor) -> Tensor:
    return net.head(net.c(torch.cat([net.a(x).relu(), net.b(x).relu()], 1)).relu())


def nested_concat(net: Any, x: Tensor) -> Tensor:
    a = net.a(x).relu()
    b = net.b(a).relu()
    both = torch.cat([a, b], 1)
    c = net.c(both).relu()
    return net.head(torch.cat([torch.cat([both, c], 1), a], 1))


def dense_block(net: Any, x: Tensor) -> Tensor:
    a = net.a(x)
    b = net.b(net.norm1(a).relu())
    c = net.c(net.norm2(torch.cat([a, b], 1)).relu())
    return net.head(net.norm3(torch.cat([a, b, c], 1)).relu())


def concat_twice(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head(net.b(torch.cat([x, x], 1)).relu())


def concat_negative(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    return net.head(torch.cat([x, -x], 1).relu())


def concat_batch(net: Any, x: Tensor) -> Tensor:
    return net.head(torch.cat([net.a(x), net.b(x)], 0).relu())


def concat_width(net: Any, x: Tensor) -> Tensor:
    return net.head(torch.cat([net.a(x), net.b(x)], 3).relu())


def concat_plus(net: Any, x: Tensor) -> Tensor:
    return net.head((torch.cat([net.a(x), net.b(x)], 1) + net.c(x)).relu())


def concat_input(net: Any, x: Tensor) -> Tensor:
    return net.head(torch.cat([x, net.a(x).relu()], 1))


def concat_flat(net: Any, x: Tensor) -> Tensor:
    a, b = F.adaptive_avg_pool2d(net.a(x), 2).flatten(1), net.b(x).mean((2, 3))
    return net.linear(net.hidden(torch.cat([b, a], 1)).relu())


def coordinates(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    rows = torch.linspace(-1, 1, x.size(2)).view(1, 1, -1, 1).expand(x.size(0), 1, x.size(2), x.size(3))
    return net.head(net.b(torch.cat([rows, x, rows.transpose(2, 3)], 1)).relu())


def c2f(net: Any, x: Tensor) -> Tensor:
    parts = list(net.a(F.silu(net.stem(x))).chunk(2, 1))
    parts.append(parts[-1] + net.c(F.silu(net.b(parts[-1]))))
    return net.head(F.silu(net.d(torch.cat(parts, 1))))


def unet(net: Any, x: Tensor) -> Tensor:
    a = net.a(x).relu()
    b = net.b(F.max_pool2d(a, 2)).relu()
    c = net.c(F.max_pool2d(b, 2)).relu()
    d = net.d(torch.cat([net.up1(c), b], 1)).relu()
    return net.head(torch.cat([net.up2(d), a], 1).relu())


def cropped_unet(net: Any, x: Tensor) -> Tensor:
    a = net.a(x).relu()
    b = net.up(net.b(F.max_pool2d(a, 2)).relu())
    top, left = ((a.size(dim) - b.size(dim)) // 2 for dim in (2, 3))
    return net.head(torch.cat([a[:, :, top : top + b.size(2), left : left + b.size(3)], b], 1))


def inception(net: Any, x: Tensor) -> Tensor:
    x = net.stem(x).relu()
    pooled = net.d(F.avg_pool2d(x, 3, stride=1, padding=1))
    return net.head(torch.cat([net.a(x), net.c(net.b(x).relu()), pooled], 1).relu())


def pyramid_pooling(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    parts = [
        F.interpolate(layer(F.adaptive_avg_pool2d(x, size)), x.shape[2:])
        for size, layer in zip((1, 2), net.levels, strict=True)
    ]
    return net.head(net.b(torch.cat([x, *parts], 1)).relu())


def _two(outputs: int, **more: nn.Module) -> dict[str, nn.Module]:
    return {"a": conv_norm(3, 16), "b": conv_norm(3, outputs), **more}


def _dense_block() -> nn.Module:
    return Micro(
        dense_block,
        a=nn.Conv2d(3, 16, 3, padding=1),
        norm1=nn.BatchNorm2d(16),
        b=nn.Conv2d(16, 8, 3, padding=1),
        norm2=nn.BatchNorm2d(24),
        c=nn.Conv2d(24, 8, 3, padding=1),
        norm3=nn.BatchNorm2d(32),
        head=head(32),
    )


def _unet() -> nn.Module:
    return Micro(
        unet,
        a=conv_norm(3, 8),
        b=conv_norm(8, 16),
        c=conv_norm(16, 24),
        up1=up_norm(24, 12),
        d=conv_norm(28, 16),
        up2=nn.ConvTranspose2d(16, 8, 2, stride=2),
        head=head(16),
    )


CASES = (
    Case(
        "concat",
        "the second branch's channels begin where the first one's end",
        "b.conv",
        lambda: Micro(concat, **_two(24), c=conv_norm(40, 16), head=head(16)),
    ),
    Case(
        "nested_concat",
        "a concatenation of concatenations, one branch in it twice",
        "a.conv",
        lambda: Micro(nested_concat, a=conv_norm(3, 8), b=conv_norm(8, 12), c=conv_norm(20, 16), head=head(44)),
    ),
    Case("dense_block", "BatchNorm over growing concatenations, before each convolution", "a", _dense_block),
    Case(
        "concat_twice",
        "every channel stands at two positions",
        "a.conv",
        lambda: Micro(concat_twice, a=conv_norm(3, 16), b=conv_norm(32, 16), head=head(16)),
    ),
    Case(
        "concat_negative",
        "CReLU: every channel and its negative",
        "a.conv",
        lambda: Micro(concat_negative, a=conv_norm(3, 12), head=head(24)),
    ),
    Case(
        "concat_batch",
        "a concatenation of the batch couples like a sum",
        "a.conv",
        lambda: Micro(concat_batch, **_two(16), head=head(16)),
    ),
    Case(
        "concat_width",
        "a concatenation in space couples like a sum",
        "a.conv",
        lambda: Micro(concat_width, **_two(16), head=head(16)),
    ),
    Case(
        "concat_plus",
        "a concatenation that is added to one layer's channels cuts that layer in two groups",
        "c.conv",
        lambda: Micro(concat_plus, **_two(24), c=conv_norm(3, 40), head=head(40)),
    ),
    Case(
        "concat_input",
        "the first channels are the input's and stay",
        "a.conv",
        lambda: Micro(concat_input, a=conv_norm(3, 16), head=head(19)),
    ),
    Case(
        "concat_flat",
        "features of which one channel fills four inputs, beside features of which it fills one",
        "a.conv",
        lambda: Micro(concat_flat, **_two(12), hidden=nn.Linear(76, 10), linear=nn.Linear(10, 5)),
        outputs=("linear",),
    ),
    Case(
        "coordinates",
        "CoordConv: constant maps on both sides of the channels",
        "a.conv",
        lambda: Micro(coordinates, a=conv_norm(3, 16), b=conv_norm(18, 12), head=head(12)),
    ),
    Case(
        "c2f",
        "YOLOv8: the halves of a chunk, one of them with a residual, and their concatenation",
        "a.conv",
        lambda: Micro(
            c2f,
            stem=conv_norm(3, 12),
            a=conv_norm(12, 16, 1),
            b=conv_norm(8, 10),
            c=conv_norm(10, 8),
            d=conv_norm(24, 16, 1),
            head=head(16),
        ),
    ),
    Case("unet", "transposed convolutions beside skips from the way down", "b.conv", _unet, image(3, 16, 16)),
    Case(
        "cropped_unet",
        "a skip that is cropped to a size that the code computes",
        "a.conv",
        lambda: Micro(cropped_unet, a=conv_norm(3, 8), b=nn.Conv2d(8, 12, 3), up=up_norm(12, 10), head=head(18)),
        image(3, 12, 12),
    ),
    Case(
        "inception",
        "four branches of different depth in one concatenation",
        "c.conv",
        lambda: Micro(
            inception,
            stem=conv_norm(3, 16),
            a=conv_norm(16, 8, 1),
            b=conv_norm(16, 12, 1),
            c=conv_norm(12, 16, 5),
            d=conv_norm(16, 8, 1),
            head=head(32),
        ),
    ),
    Case(
        "pyramid_pooling",
        "PSPNet: maps pooled to several sizes, widened again and concatenated",
        "a.conv",
        lambda: Micro(
            pyramid_pooling,
            a=conv_norm(3, 16),
            levels=nn.ModuleList([nn.Conv2d(16, 6, 1), nn.Conv2d(16, 6, 1)]),
            b=conv_norm(28, 12),
            head=head(12),
        ),
    ),
)
