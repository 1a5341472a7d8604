"""Kinds of convolutions, and where their weights come from."""

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from .case import Case, Micro, conv_norm, head, image, parameter, up_norm


def chain(net: Any, x: Tensor) -> Tensor:
    return net.head(net.b(net.a(x).relu()).relu())


def longer_chain(net: Any, x: Tensor) -> Tensor:
    return net.head(net.c(net.b(net.a(x).relu()).relu()).relu())


def resnext(net: Any, x: Tensor) -> Tensor:
    x = net.stem(x).relu()
    return net.head((x + net.c(net.b(net.a(x).relu()).relu())).relu())


def inverted_residual(net: Any, x: Tensor) -> Tensor:
    x = net.stem(x)
    return net.head(x + net.project(F.relu6(net.depthwise(F.relu6(net.expand(x))))))


def raw_conv(net: Any, x: Tensor) -> Tensor:
    x = F.conv2d(net.a(x).relu(), net.weight, net.bias, padding=1)
    return net.head(F.batch_norm(x, net.mean, net.variance, net.gamma, net.beta).relu())


def einsum_conv(net: Any, x: Tensor) -> Tensor:
    return net.head(torch.einsum("bchw,oc->bohw", net.a(x).relu(), net.weight).relu())


def matmul_conv(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    y = net.weight @ x.flatten(2) + net.bias[:, None]
    return net.head(y.unflatten(2, x.shape[2:]).relu())


def standardized(net: Any, x: Tensor) -> Tensor:
    weight = net.b.weight
    weight = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
    return net.head(F.conv2d(net.a(x).relu(), weight, padding=1).relu())


def scaled_weight(net: Any, x: Tensor) -> Tensor:
    weight = net.b.weight * net.scale.view(-1, 1, 1, 1)
    return net.head(F.conv2d(net.a(x).relu(), weight, padding=1).relu())


def binarized(net: Any, x: Tensor) -> Tensor:
    return net.head(F.conv2d(net.a(x).relu(), net.b.weight.sign(), padding=1).relu())


def dynamic_depthwise(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    kernel = net.kernel(x.mean((2, 3))).reshape(-1, 1, 3, 3)
    y = F.conv2d(x.reshape(1, -1, *x.shape[2:]), kernel, padding=1, groups=kernel.size(0))
    return net.head(y.reshape(x.shape))


def tied_weights() -> nn.Module:
    net: Any = Micro(longer_chain, a=conv_norm(3, 16), b=conv_norm(16, 16), c=conv_norm(16, 16), head=head(16))
    net.c.conv.weight = net.b.conv.weight
    return net


def frozen() -> nn.Module:
    net = Micro(chain, a=conv_norm(3, 16), b=conv_norm(16, 24), head=head(24))
    return net.requires_grad_(False)


def partly_frozen() -> nn.Module:
    net = Micro(chain, a=conv_norm(3, 16), b=conv_norm(16, 24), head=head(24))
    net.a.requires_grad_(False)
    return net


def _middle(middle: nn.Module, inputs: int = 16, outputs: int = 16) -> nn.Module:
    return Micro(chain, a=conv_norm(3, inputs), b=middle, head=head(outputs))


def _flat(conv: type[nn.Module], norm: type[nn.Module]) -> nn.Module:
    def block(inputs: int, outputs: int) -> nn.Sequential:
        layer = conv(inputs, outputs, 3, padding=1)
        return nn.Sequential(OrderedDict(conv=layer, norm=norm(outputs)))

    return Micro(chain, a=block(2, 12), b=block(12, 16), head=conv(16, 3, 1))


def raw_parts() -> nn.Module:
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


def mobile() -> nn.Module:
    return Micro(
        inverted_residual,
        stem=conv_norm(3, 12),
        expand=conv_norm(12, 24, 1),
        depthwise=conv_norm(24, 24, groups=24),
        project=conv_norm(24, 12, 1),
        head=head(12),
    )


CASES = (
    Case("one_by_one", lambda: _middle(conv_norm(16, 24, 1), 16, 24), (("a.conv", 16), ("b.conv", 24))),
    Case("dilated", lambda: _middle(conv_norm(16, 16, padding=2, dilation=2)), (("a.conv", 16), ("b.conv", 16))),
    Case("strided", lambda: _middle(conv_norm(16, 16, stride=2)), (("a.conv", 16), ("b.conv", 16))),
    Case("conv_bias", lambda: _middle(nn.Conv2d(16, 24, 3), 16, 24), (("a.conv", 16), ("b", 24))),
    Case(
        "conv_same_padding",
        lambda: _middle(nn.Conv2d(16, 12, (5, 3), padding="same"), 16, 12),
        prunes=(("a.conv", 16), ("b", 12)),
    ),
    Case(
        "conv_reflect",
        lambda: _middle(conv_norm(16, 12, padding_mode="reflect"), 16, 12),
        prunes=(("a.conv", 16), ("b.conv", 12)),
    ),
    Case(
        "conv_circular",
        lambda: _middle(conv_norm(16, 12, padding_mode="circular"), 16, 12),
        prunes=(("a.conv", 16), ("b.conv", 12)),
    ),
    Case("conv1d", lambda: _flat(nn.Conv1d, nn.BatchNorm1d), (("a.conv", 12), ("b.conv", 16)), {}, image(2, 16)),
    Case(
        "conv3d",
        lambda: _flat(nn.Conv3d, nn.BatchNorm3d),
        prunes=(("a.conv", 12), ("b.conv", 16)),
        example=image(2, 4, 4, 4),
    ),
    Case("depthwise", lambda: _middle(conv_norm(16, 16, groups=16)), prunes=(("a.conv", 16),)),
    Case("depthwise_bias", lambda: _middle(nn.Conv2d(16, 16, 3, groups=16)), prunes=(("a.conv", 16),)),
    Case("depthwise_multiplier", lambda: _middle(conv_norm(8, 16, groups=8), 8), prunes=(("a.conv", 8),)),
    Case(
        "inverted_residual",
        mobile,
        prunes=(("stem.conv project.conv", 12), ("expand.conv", 24)),
    ),
    Case("grouped", lambda: _middle(conv_norm(16, 32, groups=4), 16, 32), (("a.conv", 4), ("b.conv", 8))),
    Case("grouped_uneven", lambda: _middle(conv_norm(8, 24, groups=2), 8, 24), (("a.conv", 4), ("b.conv", 12))),
    Case(
        "grouped_twice",
        lambda: Micro(
            longer_chain,
            a=conv_norm(3, 24),
            b=conv_norm(24, 24, groups=4),
            c=conv_norm(24, 12, groups=6),
            head=head(12),
        ),
        prunes=(("a.conv", 6), ("b.conv", 2), ("c.conv", 2)),
    ),
    Case(
        "resnext",
        lambda: Micro(
            resnext,
            stem=conv_norm(3, 16),
            a=conv_norm(16, 24, 1),
            b=conv_norm(24, 24, groups=4),
            c=conv_norm(24, 16, 1),
            head=head(16),
        ),
        prunes=(("stem.conv c.conv", 16), ("a.conv", 6), ("b.conv", 6)),
    ),
    Case("transposed", lambda: _middle(up_norm(16, 12), 16, 12), (("a.conv", 16), ("b.conv", 12))),
    Case(
        "transposed_output_padding",
        lambda: _middle(nn.ConvTranspose2d(16, 12, 3, stride=2, padding=1, output_padding=1), 16, 12),
        prunes=(("a.conv", 16), ("b", 12)),
    ),
    Case(
        "transposed_grouped",
        lambda: _middle(up_norm(16, 8, groups=2), 16, 8),
        prunes=(("a.conv", 8), ("b.conv", 4)),
    ),
    Case("transposed_depthwise", lambda: _middle(up_norm(16, 16, groups=16)), prunes=(("a.conv", 16),)),
    Case("raw_parameters", raw_parts, prunes=(("a.conv", 16), ("", 24))),
    Case(
        "einsum",
        lambda: Micro(einsum_conv, a=conv_norm(3, 16), weight=parameter(24, 16), head=head(24)),
        prunes=(("a.conv", 16), ("", 24)),
    ),
    Case(
        "matmul",
        lambda: Micro(matmul_conv, a=conv_norm(3, 16), weight=parameter(24, 16), bias=parameter(24), head=head(24)),
        prunes=(("a.conv", 16), ("", 24)),
    ),
    Case(
        "tied_weights",
        tied_weights,
        prunes=(("a.conv b.conv c.conv", 16),),
    ),
    Case("frozen", frozen, prunes=(("a.conv", 16), ("b.conv", 24))),
    Case("partly_frozen", partly_frozen, prunes=(("a.conv", 16), ("b.conv", 24))),
    Case(
        "scaled_weight",
        lambda: Micro(scaled_weight, a=conv_norm(3, 16), b=nn.Conv2d(16, 24, 3), scale=parameter(24), head=head(24)),
        prunes=(("a.conv", 16), ("", 24)),
    ),
    Case(
        "binarized_weight",
        lambda: Micro(binarized, a=conv_norm(3, 16), b=nn.Conv2d(16, 24, 3), head=head(24)),
        prunes=(("a.conv", 16), ("", 24)),
    ),
    Case(
        "standardized_weight",
        lambda: Micro(standardized, a=conv_norm(3, 16), b=nn.Conv2d(16, 24, 3), head=head(24)),
        prunes=(("", 24),),
        pinned={"a.conv": "mean"},
    ),
    Case(
        "weight_norm",
        lambda: _middle(parametrizations.weight_norm(nn.Conv2d(16, 24, 3)), 16, 24),
        prunes=(("b", 24),),
        pinned={"a.conv": "norm"},
    ),
    Case(
        "spectral_norm",
        lambda: _middle(parametrizations.spectral_norm(nn.Conv2d(16, 24, 3)), 16, 24),
        pinned={"a.conv": "", "b": ""},
    ),
    Case(
        "dynamic_depthwise",
        lambda: Micro(dynamic_depthwise, a=conv_norm(3, 8), kernel=nn.Linear(8, 72), head=head(8)),
        prunes=(("a.conv kernel", 8),),
    ),
)
