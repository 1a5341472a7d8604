"""Networks whose Python code holds channel counts as numbers."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from tests.channels.sketch import conv
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from convslim.conformance.case import Micro


def split() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        left, right = torch.split(n.a(x), [4, 8], 1)
        return n.out(torch.cat([n.b(left), n.c(right)], 1))

    return Micro(run, a=conv(3, 12), b=conv(4, 6), c=conv(8, 6), out=conv(12, 4))


def view() -> nn.Module:
    return Micro(lambda n, x: n.out(n.a(x).view(x.shape[0], 4, 3, 8, 8).sum(1)), a=conv(3, 12), out=conv(3, 4))


def slices() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        y = n.a(x)
        return n.out(torch.cat([n.b(y[:, :5]), y[:, 5:], y[:, -3:]], 1))

    return Micro(run, a=conv(3, 12), b=conv(5, 6), out=conv(16, 4))


def narrow() -> nn.Module:
    return Micro(lambda n, x: n.out(n.a(x).narrow(1, 2, 6)), a=conv(3, 12), out=conv(6, 4))


def select() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        y = n.a(x)
        return n.out(y * y[:, 3].unsqueeze(1))

    return Micro(run, a=conv(3, 12), out=conv(12, 4))


def one_position() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        y = n.a(x)
        return n.out(y * y[:, 3:4].sigmoid())

    return Micro(run, a=conv(3, 8), out=conv(8, 4))


def rolled() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        y = n.a(x)
        return n.out(torch.cat([n.b(y.roll(3, 1)), y], 1))

    return Micro(run, a=conv(3, 8), b=conv(8, 6), out=conv(14, 4))


def padding() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        return n.out(n.wide(x) + F.pad(n.a(x), (0, 0, 0, 0, 2, 4)))

    return Micro(run, a=conv(3, 6), wide=conv(3, 12), out=conv(12, 4))


def conv_groups() -> nn.Module:
    weight = nn.Parameter(torch.randn(8, 1, 1, 1))
    return Micro(lambda n, x: n.out(F.conv2d(n.a(x), n.w, groups=8)), a=conv(3, 8), w=weight, out=conv(8, 4))


def unflatten() -> nn.Module:
    return Micro(lambda n, x: n.out(n.a(x).unflatten(1, (3, 4)).sum(1)), a=conv(3, 12), out=conv(4, 4))


def expand() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        return n.out(n.a(x) * n.scale.view(1, 8, 1, 1).expand(1, 8, 8, 8))

    return Micro(run, a=conv(3, 8), scale=nn.Parameter(torch.randn(8)), out=conv(8, 4))


def attention() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        q, k, v = n.qkv(x).flatten(2).transpose(1, 2).reshape(x.shape[0], 64, 3, 2, 8).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape[0], 64, 16)
        return n.out(y.transpose(1, 2).reshape(x.shape[0], 16, 8, 8))

    return Micro(run, qkv=conv(3, 48), out=conv(16, 4))


def layer_norm() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        return n.out(F.layer_norm(n.a(x).permute(0, 2, 3, 1), (8,), n.w).permute(0, 3, 1, 2).reshape(-1, 8, 8, 8))

    return Micro(run, a=conv(3, 8), w=nn.Parameter(torch.rand(8) + 0.5), out=conv(8, 4))


def constant() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        y = n.a(x) * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).view(1, 6, 1, 1)
        return n.out(torch.split(y, [2, 4], 1)[1])

    return Micro(run, a=conv(3, 6), out=conv(4, 4))


def swapped(layer: nn.Module, sizes: tuple[int, int] = (3, 5)) -> nn.Module:
    """A layer whose channels are split at fixed numbers and put together the other way round."""

    def run(n: Any, x: Tensor) -> Tensor:
        left, right = torch.split(n.a(x), list(sizes), 1)
        return n.out(torch.cat([right, left], 1))

    return Micro(run, a=layer, out=conv(sum(sizes), 4))


def depthwise() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        left, right = torch.split(n.a(x), [3, 5], 1)
        return n.out(torch.cat([n.d(left), right], 1))

    return Micro(run, a=conv(3, 8), d=conv(3, 3, 3, groups=3), out=conv(8, 4))


def flattened() -> nn.Module:
    return Micro(lambda n, x: n.out(n.a(x).view(-1, 512)), a=conv(3, 8), out=nn.Linear(512, 4))


def training() -> nn.Module:
    """Normalization and dropout, as layers and as functions, between splits."""

    def run(n: Any, x: Tensor) -> Tensor:
        y = n.drop(n.norm(n.a(x)).relu())
        y = F.batch_norm(n.b(y), n.mean, n.variance, training=n.training)
        left, right = torch.split(F.dropout(y, 0.25, n.training), [3, 5], 1)
        return n.out(torch.cat([right, left], 1)).mean((2, 3))

    parts = {"norm": nn.BatchNorm2d(8), "drop": nn.Dropout(0.25), "mean": torch.zeros(8), "variance": torch.ones(8)}
    return Micro(run, a=conv(3, 8), b=conv(8, 8), out=conv(8, 4), **parts)


# Network, and the widths of all groups that can be cut as a graph.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], dict[str, int]]] = {
    "split": (split, {"a": 4, "a#2": 8, "b": 6, "c": 6}),
    "view": (view, {"a": 4}),
    "slices": (slices, {"a": 5, "a#2": 4, "a#3": 3, "b": 6}),
    "narrow": (narrow, {"a": 6, "a#2": 6}),
    "select": (select, {"a": 11}),
    "one_position": (one_position, {"a": 7}),
    "rolled": (rolled, {"a": 8, "b": 6}),
    "padding": (padding, {"wide": 6, "wide#2": 6}),
    "conv_groups": (conv_groups, {"a": 8}),
    "unflatten": (unflatten, {"a": 4}),
    "expand": (expand, {"a": 8}),
    "attention": (attention, {"qkv": 8}),
    "layer_norm": (layer_norm, {"a": 8}),
    "constant": (constant, {"a": 2, "a#2": 4}),
    "transposed": (lambda: swapped(nn.ConvTranspose2d(3, 8, 2, stride=2)), {"a": 8}),
    "weight_norm": (lambda: swapped(weight_norm(conv(3, 8))), {"a": 8}),
    "group_norm": (lambda: swapped(nn.Sequential(conv(3, 8), nn.GroupNorm(4, 8))), {"a.0": 4}),
    "depthwise": (depthwise, {"a": 3, "a#2": 5}),
    "flattened": (flattened, {"a": 8}),
    "training": (training, {"a": 8, "b": 8}),
}
