"""Channels that are moved: split, sliced, shuffled, viewed, flattened."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .case import Case, Micro, conv_norm, head, image


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


def channels_last_linear(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).permute(0, 2, 3, 1)
    x = net.down(F.gelu(net.up(x)))
    return net.head(x.permute(0, 3, 1, 2))


def flatten(net: Any, x: Tensor) -> Tensor:
    x = F.max_pool2d(net.a(x).relu(), 2)
    return net.linear(net.hidden(x.flatten(1)).relu())


def view_auto(net: Any, x: Tensor) -> Tensor:
    x = F.max_pool2d(net.a(x).relu(), 2)
    return net.linear(net.hidden(x.view(x.size(0), -1)).relu())


def view_fixed(net: Any, x: Tensor) -> Tensor:
    x = F.max_pool2d(net.a(x).relu(), 2)
    return net.linear(net.hidden(x.view(-1, 16 * 16)).relu())


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


def _wide(run: Any, width: int, after: int, **parts: nn.Module) -> nn.Module:
    return Micro(run, a=conv_norm(3, width), head=head(after), **parts)


def _unit() -> nn.Module:
    return nn.Sequential(
        conv_norm(8, 8, 1), nn.ReLU(), conv_norm(8, 8, groups=8), conv_norm(8, 8, 1), nn.ReLU(inplace=True)
    )


def _flattening(run: Any) -> nn.Module:
    return Micro(run, a=conv_norm(3, 16), hidden=nn.Linear(256, 20), linear=nn.Linear(20, 5))


def _generating(run: Any) -> nn.Module:
    return Micro(run, hidden=nn.Linear(6, 256), up=nn.ConvTranspose2d(16, 8, 2, 2), head=head(8))


CASES = (
    Case("split_fixed_even", lambda: _wide(split_fixed_even, 16, 8), pinned={"a.conv": "split"}),
    Case("split_computed", lambda: _wide(split_computed, 16, 8), prunes=(("a.conv", 8),)),
    Case(
        "split_fixed_uneven",
        lambda: _wide(split_fixed_uneven, 32, 36, b=conv_norm(8, 12)),
        prunes=(("b.conv", 12),),
        pinned={"a.conv": "split"},
    ),
    Case("chunk", lambda: _wide(chunk, 16, 12, b=conv_norm(8, 12)), prunes=(("a.conv", 8), ("b.conv", 12))),
    Case("chunk_three", lambda: _wide(chunk_three, 24, 16, b=conv_norm(8, 8)), prunes=(("a.conv b.conv", 8),)),
    Case(
        "slice_fixed",
        lambda: _wide(slice_fixed, 16, 20, b=conv_norm(8, 12)),
        prunes=(("a.conv", 8), ("b.conv", 12)),
        pinned={"a.conv": "slice"},
    ),
    Case(
        "slice_computed",
        lambda: _wide(slice_computed, 16, 20, b=conv_norm(8, 12)),
        prunes=(("a.conv", 8), ("b.conv", 12)),
    ),
    Case(
        "slice_strided",
        lambda: _wide(slice_strided, 16, 12, b=conv_norm(8, 12)),
        prunes=(("b.conv", 12),),
        pinned={"a.conv": "slice"},
    ),
    Case("slice_drop", lambda: _wide(slice_drop, 16, 12), pinned={"a.conv": "slice"}),
    Case("narrow", lambda: _wide(narrow, 16, 8), prunes=(("a.conv", 4),), pinned={"a.conv": "slice"}),
    Case(
        "ghost",
        lambda: Micro(ghost, a=conv_norm(3, 8), cheap=conv_norm(8, 8, groups=8), head=head(16), width=16),
        prunes=(("a.conv", 8),),
    ),
    Case("index_list", lambda: _wide(index_list, 8, 8), pinned={"a.conv": "index"}),
    Case(
        "index_buffer",
        lambda: Micro(index_buffer, a=conv_norm(3, 8), order=torch.tensor([7, 6, 5, 4, 3, 2, 1, 0]), head=head(8)),
        pinned={"a.conv": "index"},
    ),
    Case("select_one", lambda: _wide(select_one, 8, 8), prunes=(("a.conv", 4),), pinned={"a.conv": "slice"}),
    Case("unbind", lambda: _wide(unbind, 8, 2), pinned={"a.conv": "unbind|select"}),
    Case(
        "shuffle_by_view",
        lambda: _wide(shuffle_by_view, 16, 12, b=conv_norm(16, 12)),
        prunes=(("a.conv", 8), ("b.conv", 12)),
    ),
    Case(
        "shuffle_by_op",
        lambda: _wide(shuffle_by_op, 16, 12, b=conv_norm(16, 12)),
        prunes=(("a.conv", 8), ("b.conv", 12)),
    ),
    Case(
        "shuffle_grouped",
        lambda: _wide(shuffle_grouped, 16, 24, b=conv_norm(16, 24, groups=2)),
        prunes=(("a.conv", 4), ("b.conv", 12)),
    ),
    Case(
        "shuffle_units",
        lambda: Micro(shuffle_units, stem=conv_norm(3, 16), units=nn.ModuleList([_unit(), _unit()]), head=head(16)),
        prunes=(("stem.conv units.0.3.conv units.1.3.conv", 4), ("units.0.0.conv", 8), ("units.1.0.conv", 8)),
    ),
    Case(
        "flip",
        lambda: _wide(flip, 16, 12, b=conv_norm(16, 12), c=conv_norm(16, 12)),
        prunes=(("a.conv", 16), ("b.conv c.conv", 12)),
    ),
    Case("flip_residual", lambda: _wide(flip_residual, 16, 16), prunes=(("a.conv", 8),)),
    Case("roll_one", lambda: _wide(roll_one, 16, 16), pinned={"a.conv": "roll"}),
    Case("roll_half", lambda: _wide(roll_half, 16, 16), prunes=(("a.conv", 8),)),
    Case("repeat", lambda: _wide(repeat, 8, 16), prunes=(("a.conv", 8),)),
    Case("repeat_interleave", lambda: _wide(repeat_interleave, 8, 16), prunes=(("a.conv", 8),)),
    Case("focus", lambda: _wide(focus, 8, 12, b=conv_norm(32, 12)), prunes=(("a.conv", 8), ("b.conv", 12))),
    Case(
        "pixel_shuffle",
        lambda: _wide(pixel_shuffle, 32, 12, b=conv_norm(8, 12)),
        prunes=(("a.conv", 8), ("b.conv", 12)),
    ),
    Case(
        "pixel_unshuffle",
        lambda: _wide(pixel_unshuffle, 8, 12, b=conv_norm(32, 12)),
        prunes=(("a.conv", 8), ("b.conv", 12)),
    ),
    Case("depth_to_space", lambda: _wide(depth_to_space, 32, 8), prunes=(("a.conv", 8),)),
    Case("maxout", lambda: _wide(maxout, 16, 8), prunes=(("a.conv", 8),)),
    Case("glu", lambda: _wide(glu, 16, 8), prunes=(("a.conv", 8),)),
    Case(
        "unfold",
        lambda: Micro(unfold, a=conv_norm(3, 8), linear=nn.Linear(72, 5)),
        prunes=(("a.conv", 8),),
    ),
    Case(
        "channels_last_linear",
        lambda: _wide(channels_last_linear, 12, 12, up=nn.Linear(12, 24), down=nn.Linear(24, 12)),
        prunes=(("a.conv", 12), ("up", 24), ("down", 12)),
    ),
    Case("flatten", lambda: _flattening(flatten), prunes=(("a.conv", 16), ("hidden", 20))),
    Case("view_auto", lambda: _flattening(view_auto), prunes=(("a.conv", 16), ("hidden", 20))),
    Case(
        "view_fixed",
        lambda: _flattening(view_fixed),
        prunes=(("hidden", 20),),
        pinned={"a.conv": "view"},
    ),
    Case(
        "generator_auto",
        lambda: _generating(generator_auto),
        prunes=(("hidden", 16), ("up", 8)),
        example=lambda batch, seed: image(6, 1)(batch, seed)[..., 0],
    ),
    Case(
        "generator_fixed",
        lambda: _generating(generator_fixed),
        prunes=(("up", 8),),
        pinned={"hidden": "view|convolution"},
        example=lambda batch, seed: image(6, 1)(batch, seed)[..., 0],
    ),
    Case(
        "detector_view",
        lambda: Micro(detector_view, a=conv_norm(3, 16), head=head(16, 12)),
        prunes=(("a.conv", 16),),
        pinned={"head": "output"},
    ),
    Case(
        "pad_space",
        lambda: _wide(pad_space, 8, 8, b=conv_norm(8, 12), c=conv_norm(12, 8)),
        prunes=(("a.conv", 8), ("b.conv", 12), ("c.conv", 8)),
    ),
)
