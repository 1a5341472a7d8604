"""Ways to write a program: custom operations, layers used again, control flow, Python in between."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from convslim.conformance.case import Case, Micro, conv_norm, head, image


@torch.library.custom_op("convslim_conformance::mystery", mutates_args=())
def mystery(x: Tensor) -> Tensor:
    """Multiply every channel with its mirror image; a tool cannot know that."""
    return x * x.flip(1)


class Swish(torch.autograd.Function):
    """Element-wise function with its own gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        gate = torch.sigmoid(x)
        return gradients[0] * gate * (1 + x * (1 - gate))


def custom_op(net: Any, x: Tensor) -> Tensor:
    return net.head(net.b(mystery(net.a(x)).relu()).relu())


def custom_function(net: Any, x: Tensor) -> Tensor:
    return net.head(Swish.apply(net.a(x)))


def numpy_detour(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    return net.head(torch.from_numpy(2 * x.detach().numpy()))


def recurrent(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu().flatten(2).transpose(1, 2)
    y, _ = net.cell(x)
    return net.linear(y)


def shared_same_branch(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    for _ in range(2):
        x = net.b(x).relu()
    return net.head(x)


def recursive(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    for norm in net.norms:
        x = x + norm(net.b(x)).relu()
    return net.head(x)


def shared_two_branches(net: Any, x: Tensor) -> Tensor:
    a, b = net.a(x).relu(), net.b(x).relu()
    return net.head(torch.cat([net.c(a), net.c(F.avg_pool2d(b, 3, 1, 1))], 1).relu())


def alias(net: Any, x: Tensor) -> Tensor:
    return net.head(net.b(net.b_again(net.a(x).relu())).relu())


def stochastic_depth(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    keep = torch.rand(x.size(0), 1, 1, 1) > 0.5 if net.training else 1.0
    return net.head(x + net.b(F.dropout(x, 0.2, net.training)) * keep)


def casts(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).double().clone().contiguous(memory_format=torch.channels_last)
    return net.head((x.abs() ** 1.5).float().detach())


def checkpointed(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head(checkpoint(lambda y: net.b(y).relu(), x, use_reentrant=False))


def loop_over_batch(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return torch.stack([net.head(one[None]).squeeze(0) for one in x])


def no_grad_part(net: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        x = net.a(x).relu()
    return net.head(net.b(x).relu())


def shape_dependent(net: Any, x: Tensor) -> Tensor:
    x = F.pad(x, (0, -x.size(3) % 4, 0, -x.size(2) % 4))
    x = net.a(x).relu()
    while x.size(2) > 4:
        x = F.max_pool2d(net.b(x).relu(), 2)
    return net.head(x) if x.dim() == 4 else net.head(x[None])


def branch_on_width(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    return net.head(x.relu() if x.size(1) >= 16 else x.tanh())


def _pair(run: Any, width: int = 16, **parts: Any) -> nn.Module:
    return Micro(run, a=conv_norm(3, 16), b=conv_norm(16, width), head=head(width), **parts)


def _parallel(run: Any, outputs: int, after: int, **parts: Any) -> nn.Module:
    return Micro(run, a=conv_norm(3, 16), b=conv_norm(3, outputs), head=head(after), **parts)


def _alone(run: Any, **parts: Any) -> nn.Module:
    return Micro(run, a=conv_norm(3, 16), head=head(16), **parts)


def _plain(net: Any, x: Tensor) -> Tensor:
    return net.head(net.a(x).relu())


def _aliased() -> nn.Module:
    net = _pair(alias)
    net.b_again = net.b
    return net


def _recursive() -> nn.Module:
    norms = nn.ModuleList([nn.BatchNorm2d(16), nn.BatchNorm2d(16)])
    return Micro(recursive, a=conv_norm(3, 16), b=nn.Conv2d(16, 16, 3, padding=1), norms=norms, head=head(16))


CASES = (
    Case(
        "custom_op",
        "an operation of which nothing is known",
        "a.conv",
        lambda: _pair(custom_op, 12),
    ),
    Case(
        "custom_function",
        "an element-wise function with a gradient of its own",
        "a.conv",
        lambda: _alone(custom_function),
    ),
    Case(
        "numpy_detour", "through NumPy and back: nobody sees what happens there", "a.conv", lambda: _alone(numpy_detour)
    ),
    Case(
        "recurrent",
        "an LSTM reads the map pixel by pixel",
        "a.conv",
        lambda: Micro(recurrent, a=conv_norm(3, 8), cell=nn.LSTM(8, 6, batch_first=True), linear=nn.Linear(6, 5)),
        outputs=("linear",),
    ),
    Case(
        "shared_same_branch",
        "a layer used twice in a row: its outputs are its inputs",
        "b.conv",
        lambda: _pair(shared_same_branch),
    ),
    Case("recursive", "a layer used twice, with a BatchNorm for each use", "b", _recursive),
    Case(
        "shared_two_branches",
        "one layer on two branches: their inputs are coupled",
        "a.conv",
        lambda: _parallel(shared_two_branches, 16, 24, c=conv_norm(16, 12)),
    ),
    Case("alias", "one layer under two names", "b.conv", _aliased),
    Case("unused_module", "a layer that is never run", "a.conv", lambda: _alone(_plain, never=conv_norm(16, 8))),
    Case(
        "stochastic_depth",
        "a branch that is dropped at random in training",
        "a.conv",
        lambda: _pair(stochastic_depth),
    ),
    Case("casts", "double precision, another memory format, detached", "a.conv", lambda: _alone(casts)),
    Case("checkpointed", "a part under activation checkpointing", "a.conv", lambda: _pair(checkpointed, 12)),
    Case("loop_over_batch", "a loop over the images", "a.conv", lambda: _alone(loop_over_batch)),
    Case("no_grad_part", "the first layers run without gradients", "a.conv", lambda: _pair(no_grad_part, 12)),
    Case(
        "shape_dependent",
        "padding to a multiple of four, and a loop that runs as often as the size asks for",
        "a.conv",
        lambda: _pair(shape_dependent),
        image(3, 15, 14),
    ),
    Case(
        "branch_on_width",
        "the number of channels decides which way the code takes",
        "a.conv",
        lambda: _alone(branch_on_width),
    ),
)
