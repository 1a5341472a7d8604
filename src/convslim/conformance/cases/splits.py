"""Channels that are split, sliced, chosen, shuffled and turned around."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convslim.conformance.case import Case, Micro, conv_norm, head


def split_fixed_even(net: Any, x: Tensor) -> Tensor:
    first, second = torch.split(net.a(x).relu(), 8, 1)
    return net.head(first * 2 - second)


def split_computed(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    first, second = torch.split(x, x.size(1) // 2, 1)
    return net.head(first * 2 - second)


def split_fixed_uneven(net: Any, x: Tensor) -> Tensor:
    first, second = torch.split(net.a(x).relu(), [8, 24], 1)
    return net.head(torch.cat([net.b(first), second], 1).relu())


def chunk(net: Any, x: Tensor) -> Tensor:
    first, second = net.a(x).chunk(2, 1)
    return net.head(net.b(first.tanh() * second.sigmoid()).relu())


def chunk_three(net: Any, x: Tensor) -> Tensor:
    q, k, v = net.a(x).chunk(3, 1)
    return net.head(torch.cat([net.b(q) + k, v], 1).relu())


def mixed_kernels(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    parts = torch.split(x, [layer.conv.in_channels for layer in net.parts], 1)
    return net.head(torch.cat([layer(part) for layer, part in zip(net.parts, parts, strict=True)], 1).relu())


def res2net(net: Any, x: Tensor) -> Tensor:
    first, second, third = net.a(x).relu().chunk(3, 1)
    second = net.b(second).relu()
    third = net.c(third + second).relu()
    return net.head(torch.cat([first, second, third], 1))


def slice_fixed(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head(torch.cat([net.b(x[:, :8]), x[:, 8:]], 1))


def slice_computed(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    half = x.size(1) // 2
    return net.head(torch.cat([net.b(x[:, :half]), x[:, half:]], 1))


def slice_strided(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head(net.b(x[:, ::2] - x[:, 1::2]))


def slice_drop(net: Any, x: Tensor) -> Tensor:
    return net.head(net.a(x)[:, :-4].relu())


def narrow(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head(x.narrow(1, 4, 8))


def ghost(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head(torch.cat([x, net.cheap(x).relu()], 1)[:, : net.width, :, :])


def index_list(net: Any, x: Tensor) -> Tensor:
    return net.head(net.a(x).relu()[:, [7, 6, 5, 4, 3, 2, 1, 0]])


def index_buffer(net: Any, x: Tensor) -> Tensor:
    return net.head(net.a(x).relu().index_select(1, net.order))


def select_one(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head(x * x[:, 3:4].sigmoid())


def unbind(net: Any, x: Tensor) -> Tensor:
    first, *_rest, last = net.a(x).relu().unbind(1)
    return net.head(torch.stack([first, last], 1))


def shuffle(x: Tensor, groups: int) -> Tensor:
    """ShuffleNet's shuffle, with every number computed."""
    batch, channels, height, width = x.shape
    x = x.view(batch, groups, channels // groups, height, width).transpose(1, 2)
    return x.reshape(batch, channels, height, width)


def shuffle_by_view(net: Any, x: Tensor) -> Tensor:
    return net.head(net.b(shuffle(net.a(x).relu(), 2)).relu())


def shuffle_by_op(net: Any, x: Tensor) -> Tensor:
    return net.head(net.b(F.channel_shuffle(net.a(x).relu(), 2)).relu())


def shuffle_grouped(net: Any, x: Tensor) -> Tensor:
    return net.head(shuffle(net.b(shuffle(net.a(x).relu(), 2)).relu(), 2))


def shuffle_units(net: Any, x: Tensor) -> Tensor:
    x = net.stem(x).relu()
    for unit in net.units:
        kept, changed = x.chunk(2, 1)
        x = shuffle(torch.cat([kept, unit(changed)], 1), 2)
    return net.head(x)


def flip(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head(net.b(x.flip(1)) + net.c(x))


def flip_residual(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head(x + x.flip(1))


def roll_one(net: Any, x: Tensor) -> Tensor:
    return net.head(net.a(x).relu().roll(1, 1))


def roll_half(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head(x + x.roll(x.size(1) // 2, 1))


def repeat(net: Any, x: Tensor) -> Tensor:
    return net.head(net.a(x).relu().repeat(1, 2, 1, 1))


def repeat_interleave(net: Any, x: Tensor) -> Tensor:
    return net.head(net.a(x).relu().repeat_interleave(2, 1))


def temporal_shift(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    part = x.size(1) // 4
    moved = torch.cat([x[:, :part].roll(1, 3), x[:, part : 2 * part].roll(-1, 3), x[:, 2 * part :]], 1)
    return net.head(x + net.b(moved))


def _wide(run: Any, width: int, after: int, **parts: nn.Module) -> nn.Module:
    return Micro(run, a=conv_norm(3, width), head=head(after), **parts)


def _unit() -> nn.Module:
    return nn.Sequential(
        conv_norm(8, 8, 1), nn.ReLU(), conv_norm(8, 8, groups=8), conv_norm(8, 8, 1), nn.ReLU(inplace=True)
    )


def _wider(run: Any) -> nn.Module:
    return _wide(run, 16, 12, b=conv_norm(16, 12))


def _half(run: Any) -> nn.Module:
    return _wide(run, 16, 20, b=conv_norm(8, 12))


def _case(name: str, hard: str, build: Any) -> Case:
    return Case(name, hard, "a.conv", build)


CASES = (
    _case("split_fixed_even", "a split into parts of a number in the code", lambda: _wide(split_fixed_even, 16, 8)),
    _case("split_computed", "two computed halves that are subtracted", lambda: _wide(split_computed, 16, 8)),
    _case(
        "split_fixed_uneven",
        "a split into two numbers in the code",
        lambda: _wide(split_fixed_uneven, 32, 36, b=conv_norm(8, 12)),
    ),
    _case("chunk", "two halves in a product: channels go in pairs", lambda: _wide(chunk, 16, 12, b=conv_norm(8, 12))),
    _case("chunk_three", "three thirds, two of them in a sum", lambda: _wide(chunk_three, 24, 16, b=conv_norm(8, 8))),
    _case(
        "mixed_kernels",
        "MixConv: a split by the widths that the layers know, then depthwise layers of different kernels",
        lambda: _wide(
            mixed_kernels, 16, 16, parts=nn.ModuleList([conv_norm(10, 10, groups=10), conv_norm(6, 6, 5, groups=6)])
        ),
    ),
    _case(
        "res2net",
        "thirds that are handed on from branch to branch",
        lambda: _wide(res2net, 24, 24, b=conv_norm(8, 8), c=conv_norm(8, 8)),
    ),
    _case("slice_fixed", "slices at a number in the code", lambda: _half(slice_fixed)),
    _case("slice_computed", "slices at half the width", lambda: _half(slice_computed)),
    _case("slice_strided", "even minus odd channels", lambda: _wide(slice_strided, 16, 12, b=conv_norm(8, 12))),
    _case("slice_drop", "the last four channels are dropped", lambda: _wide(slice_drop, 16, 12)),
    _case("narrow", "eight channels from the fourth on", lambda: _wide(narrow, 16, 8)),
    _case(
        "ghost",
        "GhostNet: channels and cheap copies of them, cut to a width that is an attribute",
        lambda: Micro(ghost, a=conv_norm(3, 8), cheap=conv_norm(8, 8, groups=8), head=head(16), width=16),
    ),
    _case("index_list", "channels chosen by a list in the code", lambda: _wide(index_list, 8, 8)),
    _case(
        "index_buffer",
        "channels chosen by a buffer of indices",
        lambda: Micro(index_buffer, a=conv_norm(3, 8), order=torch.tensor([7, 6, 5, 4, 3, 2, 1, 0]), head=head(8)),
    ),
    _case("select_one", "channel 3 is the gate of all", lambda: _wide(select_one, 8, 8)),
    _case("unbind", "the first and the last channel, the others unused", lambda: _wide(unbind, 8, 2)),
    _case("shuffle_by_view", "ShuffleNet: channels as a rectangle, transposed", lambda: _wider(shuffle_by_view)),
    _case("shuffle_by_op", "the same shuffle as one operation", lambda: _wider(shuffle_by_op)),
    _case(
        "shuffle_grouped",
        "a grouped convolution between two shuffles",
        lambda: _wide(shuffle_grouped, 16, 24, b=conv_norm(16, 24, groups=2)),
    ),
    Case(
        "shuffle_units",
        "ShuffleNetV2: half of the channels passes by, then all are shuffled, twice",
        "stem.conv",
        lambda: Micro(shuffle_units, stem=conv_norm(3, 16), units=nn.ModuleList([_unit(), _unit()]), head=head(16)),
    ),
    _case(
        "flip",
        "one reader gets the channels in reverse order",
        lambda: _wide(flip, 16, 12, b=conv_norm(16, 12), c=conv_norm(16, 12)),
    ),
    _case("flip_residual", "a sum with the channels in reverse order: pairs", lambda: _wide(flip_residual, 16, 16)),
    _case("roll_one", "channels moved on by one", lambda: _wide(roll_one, 16, 16)),
    _case("roll_half", "a sum with the channels moved on by half the width: pairs", lambda: _wide(roll_half, 16, 16)),
    _case("repeat", "all channels twice, one after the other", lambda: _wide(repeat, 8, 16)),
    _case("repeat_interleave", "every channel twice, side by side", lambda: _wide(repeat_interleave, 8, 16)),
    _case(
        "temporal_shift",
        "TSM: a quarter of the channels is moved left, a quarter right, and all are added",
        lambda: _wide(temporal_shift, 16, 16, b=conv_norm(16, 16)),
    ),
)
