"""Random small networks: a sequence of blocks, each a sentence of the architectures that people write."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

from convslim.conformance.case import Case, Micro, conv_norm, image, parameter, up_norm

Built = tuple[nn.Module, int, int]


@dataclass(frozen=True)
class Block:
    """One block: its kind, and two numbers that the kind reads as it likes."""

    kind: str
    width: int
    variant: int


def _act(x: Tensor, variant: int) -> Tensor:
    return (F.relu, F.silu, F.hardswish, torch.tanh)[variant % 4](x)


def conv(channels: int, size: int, width: int, variant: int) -> Built:
    def run(net: Any, x: Tensor) -> Tensor:
        return _act(net.a(x), variant)

    layer = conv_norm(channels, width, 3) if variant < 3 else nn.Conv2d(channels, width, 1)
    return Micro(run, a=layer), width, size


def residual(channels: int, size: int, width: int, variant: int) -> Built:
    def run(net: Any, x: Tensor) -> Tensor:
        y = net.b(_act(net.a(x), variant))
        return _act(x + (y * net.scale if variant % 2 else y), variant)

    parts = {"a": conv_norm(channels, width), "b": conv_norm(width, channels)}
    scale = {"scale": parameter(channels, 1, 1)} if variant % 2 else {}
    return Micro(run, **parts, **scale), channels, size


def shortcut(channels: int, size: int, width: int, variant: int) -> Built:
    def run(net: Any, x: Tensor) -> Tensor:
        return _act(net.a(x) + net.down(x), variant)

    return Micro(run, a=conv_norm(channels, width), down=conv_norm(channels, width, 1)), width, size


def concat(channels: int, size: int, width: int, variant: int) -> Built:
    def run(net: Any, x: Tensor) -> Tensor:
        parts = [net.a(x), net.b(x), x]
        return _act(torch.cat(parts[: 2 + variant % 2] if variant < 2 else [x, *parts[:1], x], 1), variant)

    module = Micro(run, a=conv_norm(channels, width, 1), b=conv_norm(channels, variant + 2))
    total = (width + variant + 2 + channels * (variant % 2)) if variant < 2 else width + 2 * channels
    return module, total, size


def depthwise(channels: int, size: int, width: int, variant: int) -> Built:
    def run(net: Any, x: Tensor) -> Tensor:
        return net.b(_act(net.a(x), variant))

    times = 1 + variant % 2
    middle = conv_norm(channels, times * channels, groups=channels)
    return Micro(run, a=middle, b=conv_norm(times * channels, width, 1)), width, size


def grouped(channels: int, size: int, width: int, variant: int) -> Built:
    def run(net: Any, x: Tensor) -> Tensor:
        return _act(net.b(_act(net.a(x), variant)), variant)

    groups = 2 + variant % 2
    parts = {"a": conv_norm(channels, groups * width, 1)}
    parts["b"] = conv_norm(groups * width, groups * (variant + 2), groups=groups)
    return Micro(run, **parts), groups * (variant + 2), size


def shuffled(channels: int, size: int, width: int, variant: int) -> Built:
    groups = 2 + variant % 2

    def run(net: Any, x: Tensor) -> Tensor:
        x = _act(net.a(x), variant)
        if variant > 1:
            return F.channel_shuffle(x, groups)
        batch, channels, height, width = x.shape
        x = x.view(batch, groups, channels // groups, height, width).transpose(1, 2)
        return x.reshape(batch, channels, height, width)

    return Micro(run, a=conv_norm(channels, groups * width, 1)), groups * width, size


def squeeze(channels: int, size: int, width: int, variant: int) -> Built:
    def by_conv(net: Any, x: Tensor) -> Tensor:
        return x * net.b(F.relu(net.a(F.adaptive_avg_pool2d(x, 1)))).sigmoid()

    def by_linear(net: Any, x: Tensor) -> Tensor:
        gate = net.b(F.relu(net.a(x.mean((2, 3))))).sigmoid()
        return x * gate.view(x.size(0), x.size(1), 1, 1)

    if variant % 2:
        return Micro(by_linear, a=nn.Linear(channels, width), b=nn.Linear(width, channels)), channels, size
    parts = {"a": nn.Conv2d(channels, width, 1), "b": nn.Conv2d(width, channels, 1)}
    return Micro(by_conv, **parts), channels, size


def chunked(channels: int, size: int, width: int, variant: int) -> Built:
    def gate(net: Any, x: Tensor) -> Tensor:
        first, second = net.a(x).chunk(2, 1)
        return first * second.sigmoid()

    def half(net: Any, x: Tensor) -> Tensor:
        x = net.a(x)
        first, second = x.split(x.size(1) // 2, 1)
        return torch.cat([first, second + net.b(_act(second, variant)), second], 1)

    if variant % 2:
        return Micro(gate, a=conv_norm(channels, 2 * width, 1)), width, size
    parts = {"a": conv_norm(channels, 2 * width, 1), "b": conv_norm(width, width)}
    return Micro(half, **parts), 3 * width, size


def shared(channels: int, size: int, width: int, variant: int) -> Built:
    def run(net: Any, x: Tensor) -> Tensor:
        for _ in range(2):
            x = _act(net.a(x), variant) + (x if variant % 2 else 0.0)
        return x

    return Micro(run, a=conv_norm(channels, channels)), channels, size


def smaller(channels: int, size: int, width: int, variant: int) -> Built:
    def run(net: Any, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2) if variant % 2 else net.prelu(F.avg_pool2d(x, 2))

    if size < 4:
        return conv(channels, size, width, variant)
    return Micro(run, prelu=nn.PReLU(channels)), channels, size // 2


def larger(channels: int, size: int, width: int, variant: int) -> Built:
    def run(net: Any, x: Tensor) -> Tensor:
        if variant == 0:
            return F.interpolate(x, scale_factor=2, mode="nearest")
        return F.pixel_shuffle(net.a(x), 2) if variant == 1 else net.a(x).relu()

    if size > 4:
        return conv(channels, size, width, variant)
    if variant == 0:
        return Micro(run), channels, 2 * size
    layer = nn.Conv2d(channels, 4 * width, 1) if variant == 1 else up_norm(channels, width)
    return Micro(run, a=layer), width, 2 * size


def flipped(channels: int, size: int, width: int, variant: int) -> Built:
    def run(net: Any, x: Tensor) -> Tensor:
        return _act(net.a(x).flip(1), variant)

    return Micro(run, a=conv_norm(channels, width)), width, size


KINDS: dict[str, Callable[[int, int, int, int], Built]] = {
    "conv": conv,
    "residual": residual,
    "shortcut": shortcut,
    "concat": concat,
    "depthwise": depthwise,
    "grouped": grouped,
    "shuffled": shuffled,
    "squeeze": squeeze,
    "chunked": chunked,
    "shared": shared,
    "smaller": smaller,
    "larger": larger,
    "flipped": flipped,
}


def chain(net: Any, x: Tensor) -> Tensor:
    for block in net.blocks:
        x = block(x)
    return net.last(x)


def _last(channels: int, size: int, end: str) -> nn.Module:
    if end == "map":
        return nn.Conv2d(channels, 3, 1)
    if end == "flat":
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, 3))
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3))


def network(blocks: tuple[Block, ...], end: str) -> nn.Module:
    """Build the blocks one after the other on 8x8 inputs of two channels."""
    channels, size, modules = 2, 8, []
    for block in (Block("conv", 6, 0), *blocks):
        module, channels, size = KINDS[block.kind](channels, size, block.width, block.variant)
        modules.append(module)
    return Micro(chain, blocks=nn.ModuleList(modules), last=_last(channels, size, end))


blocks = st.builds(Block, st.sampled_from(sorted(KINDS)), st.integers(2, 9), st.integers(0, 3))
ends = st.sampled_from(["map", "pooled", "flat"])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A random network of one to five blocks."""
    parts, end = tuple(draw(st.lists(blocks, min_size=1, max_size=5))), draw(ends)
    name = " ".join(f"{block.kind}({block.width},{block.variant})" for block in parts)
    return Case(f"{name} {end}", "chance", "blocks.0.a.conv", lambda: network(parts, end), image(2), outputs=("last",))
