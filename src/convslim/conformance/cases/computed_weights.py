"""Weights that the forward pass computes from parameters: scaled, standardized, merged, adapted, mixed."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convslim.conformance.case import Case, Micro, conv_norm, head, parameter


def centered_weight(net: Any, x: Tensor) -> Tensor:
    weight = net.b.weight
    weight = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
    return net.head(F.conv2d(net.a(x).relu(), weight, padding=1).relu())


def standardized_weight(net: Any, x: Tensor) -> Tensor:
    weight = net.b.weight
    var, mean = torch.var_mean(weight, dim=(1, 2, 3), keepdim=True)
    weight = (weight - mean) / (var + 1e-5).sqrt() * net.gain
    return net.head(F.conv2d(net.a(x).relu(), weight, net.b.bias, padding=1).relu())


def batch_norm_weight(net: Any, x: Tensor) -> Tensor:
    weight = net.b.weight
    flat = F.batch_norm(weight.reshape(1, weight.size(0), -1), None, None, training=True, momentum=0.0)
    return net.head(F.conv2d(net.a(x).relu(), flat.reshape_as(weight), net.b.bias, padding=1).relu())


def standardized_input_only(net: Any, x: Tensor) -> Tensor:
    weight = net.b.weight
    weight = weight / weight.flatten(2).norm(dim=2)[:, :, None, None]
    return net.head(F.conv2d(net.a(x).relu(), weight, padding=1).relu())


def scaled_weight(net: Any, x: Tensor) -> Tensor:
    weight = net.b.weight * net.scale.view(-1, 1, 1, 1)
    return net.head(F.conv2d(net.a(x).relu(), weight, padding=1).relu())


def binarized(net: Any, x: Tensor) -> Tensor:
    return net.head(F.conv2d(net.a(x).relu(), net.b.weight.sign(), padding=1).relu())


def masked_weight(net: Any, x: Tensor) -> Tensor:
    return net.head(F.conv2d(net.a(x).relu(), net.b.weight * net.mask, padding=1).relu())


def merged_branches(net: Any, x: Tensor) -> Tensor:
    weight = net.dense.weight + F.pad(net.point.weight, (1, 1, 1, 1))
    return net.head(F.conv2d(net.a(x).relu(), weight, net.dense.bias + net.point.bias, padding=1).relu())


def adapted_conv(net: Any, x: Tensor) -> Tensor:
    update = (net.up @ net.down).view_as(net.b.weight)
    return net.head(F.conv2d(net.a(x).relu(), net.b.weight + 0.5 * update, net.b.bias, padding=1).relu())


def adapted_linear(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu().mean((2, 3))
    return net.head(F.linear(x, net.b.weight + net.up @ net.down, net.b.bias).relu())


def kernel_experts(net: Any, x: Tensor) -> Tensor:
    share = net.router.softmax(0)
    weight = (share[:, None] * net.experts.flatten(1)).sum(0).view(net.experts.shape[1:])
    return net.head(F.conv2d(net.a(x).relu(), weight, padding=1).relu())


def rotated_twice(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    weight = net.b.weight
    turned = torch.cat([weight, weight.rot90(1, (2, 3))], 0)
    return net.head(F.conv2d(x, turned, padding=1).relu())


def _computed(run: Any, outputs: int = 24, **parts: Any) -> nn.Module:
    return Micro(run, a=conv_norm(3, 16), b=nn.Conv2d(16, 24, 3), head=head(outputs), **parts)


CASES = (
    Case(
        "scaled_weight",
        "a weight that is multiplied with one scale per filter",
        "b",
        lambda: _computed(scaled_weight, scale=parameter(24)),
        channel_dims={"scale": 0},
    ),
    Case("binarized_weight", "the signs of a weight", "b", lambda: _computed(binarized)),
    Case(
        "masked_weight",
        "a weight times a fixed 0/1 mask, as fine-grained pruning leaves it",
        "b",
        lambda: _computed(masked_weight, mask=(torch.rand(24, 16, 3, 3) > 0.3).float()),
    ),
    Case(
        "centered_weight",
        "weights minus their mean over the inputs: fewer inputs, other means",
        "a.conv",
        lambda: _computed(centered_weight),
    ),
    Case(
        "standardized_weight",
        "NFNet: weights standardized over inputs and kernel, with a gain per filter",
        "a.conv",
        lambda: _computed(standardized_weight, gain=parameter(24, 1, 1, 1)),
        channel_dims={"gain": 0},
    ),
    Case(
        "batch_norm_weight",
        "ResNetV2: weights standardized by a batch normalization of the weight",
        "a.conv",
        lambda: _computed(batch_norm_weight),
    ),
    Case(
        "standardized_kernel",
        "weights divided by the norm of each kernel: over space only, so that nothing changes",
        "a.conv",
        lambda: _computed(standardized_input_only),
    ),
    Case(
        "merged_branches",
        "RepVGG: the weights of two branches are added before one convolution",
        "dense",
        lambda: Micro(
            merged_branches,
            a=conv_norm(3, 16),
            dense=nn.Conv2d(16, 24, 3, padding=1),
            point=nn.Conv2d(16, 24, 1),
            head=head(24),
        ),
    ),
    Case(
        "adapted_conv",
        "LoRA on a convolution: a product of rank 2 is added, one input channel fills nine of its columns",
        "a.conv",
        lambda: _computed(adapted_conv, up=parameter(24, 2), down=parameter(2, 144)),
        channel_dims={"up": 0, "down": 1},
    ),
    Case(
        "adapted_linear",
        "LoRA on a linear layer",
        "b",
        lambda: Micro(
            adapted_linear,
            a=conv_norm(3, 16),
            b=nn.Linear(16, 24),
            up=parameter(24, 2),
            down=parameter(2, 16),
            head=nn.Linear(24, 5),
        ),
        channel_dims={"up": 0, "down": 1},
    ),
    Case(
        "kernel_experts",
        "CondConv: the weight is a weighted sum of three",
        "a.conv",
        lambda: Micro(
            kernel_experts, a=conv_norm(3, 8), experts=parameter(3, 12, 8, 3, 3), router=parameter(3), head=head(12)
        ),
        channel_dims={"experts": 1, "router": None},
    ),
    Case(
        "rotated_twice",
        "every filter is used as it is and turned by 90 degrees: two channels each",
        "b",
        lambda: _computed(rotated_twice, 48),
    ),
)
