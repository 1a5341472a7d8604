"""Branches that meet: sums, concatenations, gates, skips."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .case import Case, Micro, conv_norm, head, image, up_norm


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


def coordinates(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    rows = torch.linspace(-1, 1, x.size(2)).view(1, 1, -1, 1).expand(x.size(0), 1, x.size(2), x.size(3))
    return net.head(net.b(torch.cat([rows, x, rows.transpose(2, 3)], 1)).relu())


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


def feature_pyramid(net: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    fine = net.a(x).relu()
    coarse = net.lateral2(net.b(fine).relu())
    fine = net.lateral1(fine) + F.interpolate(coarse, scale_factor=2.0, mode="nearest")
    return net.head(fine), net.head(coarse)


def inception(net: Any, x: Tensor) -> Tensor:
    x = net.stem(x).relu()
    pooled = net.d(F.avg_pool2d(x, 3, stride=1, padding=1))
    return net.head(torch.cat([net.a(x), net.c(net.b(x).relu()), pooled], 1).relu())


def _block(width: int = 32, stride: int = 2) -> dict[str, nn.Module]:
    return {
        "a": conv_norm(3, 16),
        "b": conv_norm(16, 24, stride=stride),
        "c": conv_norm(24, width),
        "head": head(width),
    }


def _two(outputs: int, **more: nn.Module) -> dict[str, nn.Module]:
    return {"a": conv_norm(3, 16), "b": conv_norm(3, outputs), **more}


CASES = (
    Case(
        "plain",
        lambda: Micro(plain, a=conv_norm(3, 16), b=conv_norm(16, 24), head=head(24)),
        prunes=(("a.conv", 16), ("b.conv", 24)),
        pinned={"head": "output"},
    ),
    Case(
        "residual",
        lambda: Micro(residual, **_block(16, stride=1)),
        prunes=(("a.conv c.conv", 16), ("b.conv", 24)),
        pinned={"head": "output"},
    ),
    Case(
        "shortcut_b",
        lambda: Micro(shortcut_b, **_block(), down=conv_norm(16, 32, 1, stride=2)),
        prunes=(("a.conv", 16), ("b.conv", 24), ("c.conv down.conv", 32)),
    ),
    Case(
        "shortcut_a_fixed",
        lambda: Micro(shortcut_a_fixed, **_block()),
        prunes=(("a.conv c.conv", 16), ("b.conv", 24)),
        pinned={"c.conv": "pad"},
    ),
    Case(
        "shortcut_a_computed",
        lambda: Micro(shortcut_a_computed, **_block()),
        prunes=(("a.conv c.conv", 16), ("b.conv", 24)),
        pinned={"c.conv": "pad"},
    ),
    Case(
        "shortcut_a_concat",
        lambda: Micro(shortcut_a_concat, **_block()),
        prunes=(("a.conv c.conv", 16), ("b.conv", 24)),
    ),
    Case(
        "concat",
        lambda: Micro(concat, **_two(24), c=conv_norm(40, 16), head=head(16)),
        prunes=(("a.conv", 16), ("b.conv", 24), ("c.conv", 16)),
    ),
    Case(
        "nested_concat",
        lambda: Micro(nested_concat, a=conv_norm(3, 8), b=conv_norm(8, 12), c=conv_norm(20, 16), head=head(44)),
        prunes=(("a.conv", 8), ("b.conv", 12), ("c.conv", 16)),
    ),
    Case(
        "dense_block",
        lambda: Micro(
            dense_block,
            a=nn.Conv2d(3, 16, 3, padding=1),
            norm1=nn.BatchNorm2d(16),
            b=nn.Conv2d(16, 8, 3, padding=1),
            norm2=nn.BatchNorm2d(24),
            c=nn.Conv2d(24, 8, 3, padding=1),
            norm3=nn.BatchNorm2d(32),
            head=head(32),
        ),
        prunes=(("a", 16), ("b", 8), ("c", 8)),
    ),
    Case(
        "concat_twice",
        lambda: Micro(concat_twice, a=conv_norm(3, 16), b=conv_norm(32, 16), head=head(16)),
        prunes=(("a.conv", 16), ("b.conv", 16)),
    ),
    Case(
        "concat_negative",
        lambda: Micro(concat_negative, a=conv_norm(3, 12), head=head(24)),
        prunes=(("a.conv", 12),),
    ),
    Case("concat_batch", lambda: Micro(concat_batch, **_two(16), head=head(16)), (("a.conv b.conv", 16),)),
    Case("concat_width", lambda: Micro(concat_width, **_two(16), head=head(16)), (("a.conv b.conv", 16),)),
    Case(
        "concat_plus",
        lambda: Micro(concat_plus, **_two(24), c=conv_norm(3, 40), head=head(40)),
        prunes=(("a.conv c.conv", 16), ("b.conv c.conv", 24)),
    ),
    Case("concat_input", lambda: Micro(concat_input, a=conv_norm(3, 16), head=head(19)), (("a.conv", 16),)),
    Case(
        "coordinates",
        lambda: Micro(coordinates, a=conv_norm(3, 16), b=conv_norm(18, 12), head=head(12)),
        prunes=(("a.conv", 16), ("b.conv", 12)),
    ),
    Case("stack_sum", lambda: Micro(stack_sum, **_two(16), head=head(16)), (("a.conv b.conv", 16),)),
    Case("stack_max", lambda: Micro(stack_max, **_two(16), head=head(16)), (("a.conv b.conv", 16),)),
    Case("gate", lambda: Micro(gate, **_two(16), head=head(16)), (("a.conv b.conv", 16),)),
    Case(
        "gate_resized",
        lambda: Micro(gate_resized, a=conv_norm(3, 16), g=nn.Conv2d(16, 16, 1), head=head(16)),
        prunes=(("a.conv g", 16),),
    ),
    Case(
        "elementwise_mix",
        lambda: Micro(elementwise_mix, **_two(16), c=conv_norm(3, 16), head=head(16)),
        prunes=(("a.conv b.conv c.conv", 16),),
    ),
    Case(
        "c2f",
        lambda: Micro(
            c2f,
            stem=conv_norm(3, 12),
            a=conv_norm(12, 16, 1),
            b=conv_norm(8, 10),
            c=conv_norm(10, 8),
            d=conv_norm(24, 16, 1),
            head=head(16),
        ),
        prunes=(("stem.conv", 12), ("a.conv c.conv", 8), ("b.conv", 10), ("d.conv", 16)),
    ),
    Case(
        "unet",
        lambda: Micro(
            unet,
            a=conv_norm(3, 8),
            b=conv_norm(8, 16),
            c=conv_norm(16, 24),
            up1=up_norm(24, 12),
            d=conv_norm(28, 16),
            up2=nn.ConvTranspose2d(16, 8, 2, stride=2),
            head=head(16),
        ),
        prunes=(("a.conv", 8), ("b.conv", 16), ("c.conv", 24), ("up1.conv", 12), ("d.conv", 16), ("up2", 8)),
        example=image(3, 16, 16),
    ),
    Case(
        "feature_pyramid",
        lambda: Micro(
            feature_pyramid,
            a=conv_norm(3, 8),
            b=conv_norm(8, 16, stride=2),
            lateral1=nn.Conv2d(8, 12, 1),
            lateral2=nn.Conv2d(16, 12, 1),
            head=head(12),
        ),
        prunes=(("a.conv", 8), ("b.conv", 16), ("lateral1 lateral2", 12)),
    ),
    Case(
        "inception",
        lambda: Micro(
            inception,
            stem=conv_norm(3, 16),
            a=conv_norm(16, 8, 1),
            b=conv_norm(16, 12, 1),
            c=conv_norm(12, 16, 5),
            d=conv_norm(16, 8, 1),
            head=head(32),
        ),
        prunes=(("stem.conv", 16), ("a.conv", 8), ("b.conv", 12), ("c.conv", 16), ("d.conv", 8)),
    ),
)
