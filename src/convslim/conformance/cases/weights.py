"""Where weights come from: raw parameters, weights used twice, PyTorch's parametrizations, adapters."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from convslim.conformance.case import Case, Micro, conv_norm, head, parameter


def chain(net: Any, x: Tensor) -> Tensor:
    return net.head(net.b(net.a(x).relu()).relu())


def longer_chain(net: Any, x: Tensor) -> Tensor:
    return net.head(net.c(net.b(net.a(x).relu()).relu()).relu())


def raw_conv(net: Any, x: Tensor) -> Tensor:
    x = F.conv2d(net.a(x).relu(), net.weight, net.bias, padding=1)
    return net.head(F.batch_norm(x, net.mean, net.variance, net.gamma, net.beta).relu())


def einsum_conv(net: Any, x: Tensor) -> Tensor:
    return net.head(torch.einsum("bchw,oc->bohw", net.a(x).relu(), net.weight).relu())


def matmul_conv(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    y = net.weight @ x.flatten(2) + net.bias[:, None]
    return net.head(y.unflatten(2, x.shape[2:]).relu())


def adapter_beside(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head((net.b(x) + net.up(net.down(x))).relu())


def transposed_tie(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu().mean((2, 3))
    hidden = F.linear(x, net.weight).relu()
    return net.head(F.linear(hidden, net.weight.t()) + x)


def cosine_head(net: Any, x: Tensor) -> Tensor:
    x = net.b(net.a(x).relu()).mean((2, 3))
    return F.linear(F.normalize(x), F.normalize(net.prototypes))


def _middle(middle: nn.Module, inputs: int = 16, outputs: int = 24) -> nn.Module:
    return Micro(chain, a=conv_norm(3, inputs), b=middle, head=head(outputs))


def _tied_weights() -> nn.Module:
    net: Any = Micro(longer_chain, a=conv_norm(3, 16), b=conv_norm(16, 16), c=conv_norm(16, 16), head=head(16))
    net.c.conv.weight = net.b.conv.weight
    return net


def _frozen(only_first: bool) -> nn.Module:
    net: Any = Micro(chain, a=conv_norm(3, 16), b=conv_norm(16, 24), head=head(24))
    (net.a if only_first else net).requires_grad_(False)
    return net


def _raw_parts() -> nn.Module:
    return Micro(
        raw_conv,
        a=conv_norm(3, 16),
        weight=parameter(24, 16, 3, 3),
        bias=parameter(24),
        gamma=nn.Parameter(0.5 + torch.rand(24)),
        beta=parameter(24),
        mean=0.5 * torch.randn(24),
        variance=0.5 + torch.rand(24),
        head=head(24),
    )


RAW = {"weight": 0, "bias": 0, "gamma": 0, "beta": 0}

CASES = (
    Case(
        "raw_parameters",
        "convolution and BatchNorm as functions on raw parameters",
        "weight",
        _raw_parts,
        channel_dims=RAW,
    ),
    Case(
        "einsum",
        "a 1x1 convolution written as einsum with a raw parameter",
        "weight",
        lambda: Micro(einsum_conv, a=conv_norm(3, 16), weight=parameter(24, 16), head=head(24)),
        channel_dims={"weight": 0},
    ),
    Case(
        "matmul",
        "a 1x1 convolution written as a matrix product with a raw parameter",
        "weight",
        lambda: Micro(matmul_conv, a=conv_norm(3, 16), weight=parameter(24, 16), bias=parameter(24), head=head(24)),
        channel_dims={"weight": 0, "bias": 0},
    ),
    Case("tied_weights", "two layers share one weight, so inputs and outputs are one set", "b.conv", _tied_weights),
    Case(
        "transposed_tie",
        "an autoencoder that uses one matrix both ways",
        "a.conv",
        lambda: Micro(transposed_tie, a=conv_norm(3, 16), weight=parameter(10, 16), head=nn.Linear(16, 5)),
        channel_dims={"weight": 0},
    ),
    Case("frozen", "no parameter needs a gradient", "a.conv", lambda: _frozen(False)),
    Case("partly_frozen", "the first layer needs no gradient", "a.conv", lambda: _frozen(True)),
    Case(
        "weight_norm",
        "direction and length of a filter as parameters: the norm runs over the inputs",
        "a.conv",
        lambda: _middle(parametrizations.weight_norm(nn.Conv2d(16, 24, 3))),
    ),
    Case(
        "spectral_norm",
        "a weight divided by its largest singular value, which every channel takes part in",
        "b",
        lambda: _middle(parametrizations.spectral_norm(nn.Conv2d(16, 24, 3))),
    ),
    Case(
        "orthogonal",
        "a weight that is a matrix exponential: no channel of it stands alone",
        "b",
        lambda: _middle(parametrizations.orthogonal(nn.Conv2d(16, 24, 1))),
    ),
    Case(
        "adapter_beside",
        "LoRA as two layers beside the first one",
        "b",
        lambda: Micro(
            adapter_beside,
            a=conv_norm(3, 16),
            b=nn.Conv2d(16, 24, 3, padding=1),
            down=nn.Conv2d(16, 4, 3, padding=1, bias=False),
            up=nn.Conv2d(4, 24, 1, bias=False),
            head=head(24),
        ),
    ),
    Case(
        "cosine_head",
        "features and class prototypes divided by their length, which is a norm over the channels",
        "b.conv",
        lambda: Micro(cosine_head, a=conv_norm(3, 16), b=conv_norm(16, 24), prototypes=parameter(5, 24)),
        outputs=(),
        channel_dims={"prototypes": 1},
    ),
)
