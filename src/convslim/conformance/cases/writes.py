"""Writing into tensors: in place, into slices, through indices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from convslim.conformance.case import Case, Micro, conv_norm, head


def in_place(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    x += net.b(x.relu())
    x.mul_(0.5).sub_(0.1).relu_()
    return net.head(x)


def write_slices(net: Any, x: Tensor) -> Tensor:
    a, b = net.a(x).relu(), net.b(x).relu()
    out = a.new_zeros(a.size(0), a.size(1) + b.size(1), *a.shape[2:])
    out[:, : a.size(1)] = a
    out[:, a.size(1) :] = b
    return net.head(out)


def write_slices_fixed(net: Any, x: Tensor) -> Tensor:
    a, b = net.a(x).relu(), net.b(x).relu()
    out = torch.zeros(a.size(0), 24, *a.shape[2:])
    out[:, :16] = a
    out[:, 16:] = b
    return net.head(out)


def write_interleaved(net: Any, x: Tensor) -> Tensor:
    a, b = net.a(x).relu(), net.b(x).relu()
    out = a.new_zeros(a.size(0), 2 * a.size(1), *a.shape[2:])
    out[:, ::2] = a
    out[:, 1::2] = b
    return net.head(out)


def copy_in_space(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    x[:, :, 0] = 0.5
    x[:, :, :, 1:3].add_(1.0)
    return net.head(x)


def masked_in_space(net: Any, x: Tensor) -> Tensor:
    hidden = x[:, :1].expand(-1, net.token.size(1), -1, -1) > 0.5
    x = net.a(x).relu()
    return net.head(torch.where(hidden, net.token, x))


def scaled_slice(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    x[:, :4] *= 0.5
    return net.head(x.relu())


def accumulate(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    total = torch.zeros_like(x)
    for layer in net.layers:
        total += layer(x)
    return net.head(total)


def _alone(run: Any, **parts: Any) -> nn.Module:
    return Micro(run, a=conv_norm(3, 16), head=head(16), **parts)


def _parallel(run: Any, outputs: int, after: int) -> nn.Module:
    return Micro(run, a=conv_norm(3, 16), b=conv_norm(3, outputs), head=head(after))


CASES = (
    Case(
        "in_place", "a sum and three more operations in place", "a.conv", lambda: _alone(in_place, b=conv_norm(16, 16))
    ),
    Case(
        "write_slices",
        "a concatenation written into slices of a new tensor, at computed places",
        "b.conv",
        lambda: _parallel(write_slices, 8, 24),
    ),
    Case(
        "write_slices_fixed",
        "the same at numbers in the code",
        "b.conv",
        lambda: _parallel(write_slices_fixed, 8, 24),
    ),
    Case(
        "write_interleaved",
        "two branches written into even and odd channels",
        "b.conv",
        lambda: _parallel(write_interleaved, 16, 32),
    ),
    Case(
        "copy_in_space",
        "a row and two columns of every channel are overwritten",
        "a.conv",
        lambda: _alone(copy_in_space),
    ),
    Case(
        "masked_in_space",
        "a learned token replaces the map where the image is bright",
        "a.conv",
        lambda: _alone(masked_in_space, token=nn.Parameter(torch.randn(1, 16, 1, 1))),
        channel_dims={"token": 1},
    ),
    Case("scaled_slice", "the first four channels are halved in place", "a.conv", lambda: _alone(scaled_slice)),
    Case(
        "accumulate",
        "layers are added to a tensor of zeros, one after the other",
        "layers.0.conv",
        lambda: _alone(accumulate, layers=nn.ModuleList([conv_norm(16, 16), conv_norm(16, 16, 1)])),
    ),
)
