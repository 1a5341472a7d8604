"""Inputs and outputs: several, nested, by keyword, unused."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from convslim.conformance.case import Case, Micro, conv_norm, head, image


def siamese(net: Any, left: Tensor, right: Tensor) -> Tensor:
    a, b = (net.b(net.a(x).relu()).relu() for x in (left, right))
    return net.head((a - b).abs())


def two_inputs(net: Any, x: Tensor, z: Tensor) -> Tensor:
    return net.head((net.a(x) + net.b(z)).relu())


def keyword_inputs(net: Any, *, picture: Tensor, depth: Tensor) -> dict[str, Any]:
    a, b = net.a(picture).relu(), net.b(depth).relu()
    return {"out": net.head(torch.cat([a, b], 1)), "nested": (net.side(b), {"size": picture.shape})}


def packed_input(net: Any, batch: dict[str, Any]) -> Tensor:
    return net.head(net.a(batch["views"][0]).relu() + net.b(batch["views"][1]).relu())


def nested_output(net: Any, x: Tensor) -> tuple[Any, ...]:
    a = net.a(x).relu()
    b = net.b(a).relu()
    return net.head(b), [a, {"none": None}]


def part_output(net: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    x = net.a(x).relu()
    return net.head(x), net.side(x).softmax(1)


def two_heads(net: Any, x: Tensor) -> dict[str, Tensor]:
    x = net.b(net.a(x).relu()).relu()
    boxes = net.boxes(net.c(x).relu())
    return {"boxes": boxes.permute(0, 2, 3, 1).flatten(1, 2), "classes": net.classes(x.mean((2, 3)))}


def aux_in_training(net: Any, x: Tensor) -> Any:
    x = net.a(x).relu()
    y = net.head(net.b(x).relu())
    return (y, net.aux(x)) if net.training else y


def unused_output(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    net.side(x)
    return net.head(x)


def containers(net: Any, x: Tensor) -> Tensor:
    x = net.parts["a"](x).relu()
    return sum(layer(x) for layer in net.heads)


def _parallel(run: Any, outputs: int, after: int, **parts: Any) -> nn.Module:
    return Micro(run, a=conv_norm(3, 16), b=conv_norm(3, outputs), head=head(after), **parts)


def _two_images(batch: int, seed: int) -> tuple[Tensor, Tensor]:
    return image(3)(batch, seed), image(3)(batch, seed + 1000)


def _keywords(batch: int, seed: int) -> dict[str, Tensor]:
    return {"picture": image(3)(batch, seed), "depth": image(1)(batch, seed + 1000)}


def _packed(batch: int, seed: int) -> tuple[dict[str, Any]]:
    return ({"views": list(_two_images(batch, seed)), "name": "pair"},)


def _pair(run: Any, width: int = 16, **parts: Any) -> nn.Module:
    return Micro(run, a=conv_norm(3, 16), b=conv_norm(16, width), head=head(width), **parts)


def _two_heads() -> nn.Module:
    parts = {"a": conv_norm(3, 16), "b": conv_norm(16, 12), "c": conv_norm(12, 10)}
    return Micro(two_heads, **parts, boxes=nn.Conv2d(10, 8, 1), classes=nn.Linear(12, 3))


CASES = (
    Case("siamese", "one network on two images", "b.conv", lambda: _pair(siamese, 12), _two_images),
    Case("two_inputs", "two images, two stems, one sum", "b.conv", lambda: _parallel(two_inputs, 16, 16), _two_images),
    Case(
        "keyword_inputs",
        "inputs by keyword, outputs in nested dicts and tuples",
        "b.conv",
        lambda: Micro(keyword_inputs, a=conv_norm(3, 16), b=conv_norm(1, 8), head=head(24), side=nn.Conv2d(8, 2, 1)),
        _keywords,
        outputs=("head", "side"),
    ),
    Case(
        "packed_input",
        "a batch as a dict of lists",
        "b.conv",
        lambda: _parallel(packed_input, 16, 16),
        _packed,
    ),
    Case(
        "nested_output",
        "features inside the network are outputs too, and so stay",
        "b.conv",
        lambda: _pair(nested_output, 12),
        outputs=("head", "a.conv"),
    ),
    Case(
        "softmax_output",
        "two outputs, one of them through a softmax",
        "a.conv",
        lambda: Micro(part_output, a=conv_norm(3, 16), head=head(16), side=nn.Conv2d(16, 5, 1)),
        outputs=("head", "side"),
    ),
    Case(
        "two_heads",
        "a detector: boxes from maps, classes from pooled features",
        "b.conv",
        _two_heads,
        outputs=("boxes", "classes"),
    ),
    Case(
        "aux_in_training",
        "a second head that only training runs reads the channels, too",
        "a.conv",
        lambda: _pair(aux_in_training, 12, aux=nn.Conv2d(16, 4, 1)),
        outputs=("head", "aux"),
    ),
    Case(
        "unused_output",
        "a branch whose result nobody uses",
        "a.conv",
        lambda: Micro(unused_output, a=conv_norm(3, 16), side=conv_norm(16, 8), head=head(16)),
    ),
    Case(
        "containers",
        "layers in a dict and in a list",
        "parts.a.conv",
        lambda: Micro(
            containers,
            parts=nn.ModuleDict({"a": conv_norm(3, 16)}),
            heads=nn.ModuleList([head(16), head(16)]),
        ),
        outputs=("heads.0", "heads.1"),
    ),
)
