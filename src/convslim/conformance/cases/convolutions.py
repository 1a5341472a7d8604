"""Kinds of convolutions: padding, strides, conv groups, transposed ones, one to three dimensions, fixed filters."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convslim.conformance.case import Case, Micro, conv_norm, head, image, up_norm


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


def dynamic_depthwise(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    kernel = net.kernel(x.mean((2, 3))).reshape(-1, 1, 3, 3)
    y = F.conv2d(x.reshape(1, -1, *x.shape[2:]), kernel, padding=1, groups=kernel.size(0))
    return net.head(y.reshape(x.shape))


def blur_expanded(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    kernel = net.blur.expand(x.size(1), 1, 3, 3)
    return net.head(F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel, stride=2, groups=x.size(1)))


def blur_stored(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head(F.conv2d(x, net.blur, stride=2, padding=1, groups=x.size(1)))


def blur_fixed(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head(F.conv2d(x, net.blur.expand(16, 1, 3, 3), stride=2, padding=1, groups=16))


def flattened_conv(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu().flatten(2)
    return net.head(net.b(x).relu())


def rows_as_batch(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    batch, _, height, _ = x.shape
    y = net.b(x.transpose(1, 2).flatten(0, 1)).relu()
    return net.head(y.unflatten(0, (batch, height)).transpose(1, 2))


def ring_blur() -> Tensor:
    """Binomial low-pass filter, 3x3."""
    line = torch.tensor([1.0, 2.0, 1.0])
    return (line[:, None] * line / 16)[None, None]


def _middle(middle: nn.Module, inputs: int = 16, outputs: int = 16) -> nn.Module:
    return Micro(chain, a=conv_norm(3, inputs), b=middle, head=head(outputs))


def _flat(conv: type[nn.Module], norm: type[nn.Module]) -> nn.Module:
    def block(inputs: int, outputs: int) -> nn.Sequential:
        layer = conv(inputs, outputs, 3, padding=1)
        return nn.Sequential(OrderedDict(conv=layer, norm=norm(outputs)))

    return Micro(chain, a=block(2, 12), b=block(12, 16), head=conv(16, 3, 1))


def _grouped_twice() -> nn.Module:
    parts = {"a": conv_norm(3, 24), "b": conv_norm(24, 48, groups=4), "c": conv_norm(48, 12, groups=6)}
    return Micro(longer_chain, **parts, head=head(12))


def _resnext() -> nn.Module:
    parts = {"a": conv_norm(16, 24, 1), "b": conv_norm(24, 24, groups=4), "c": conv_norm(24, 16, 1)}
    return Micro(resnext, stem=conv_norm(3, 16), **parts, head=head(16))


def _mobile() -> nn.Module:
    return Micro(
        inverted_residual,
        stem=conv_norm(3, 12),
        expand=conv_norm(12, 24, 1),
        depthwise=conv_norm(24, 24, groups=24),
        project=conv_norm(24, 12, 1),
        head=head(12),
    )


def _blurred(run: Any, kernel: Tensor) -> nn.Module:
    return Micro(run, a=conv_norm(3, 16), blur=kernel, head=head(16))


CASES = (
    Case("one_by_one", "a 1x1 convolution in the middle", "b.conv", lambda: _middle(conv_norm(16, 24, 1), 16, 24)),
    Case("dilated", "dilation", "a.conv", lambda: _middle(conv_norm(16, 16, padding=2, dilation=2))),
    Case("strided", "a stride", "a.conv", lambda: _middle(conv_norm(16, 16, stride=2))),
    Case("conv_bias", "a bias and no BatchNorm", "b", lambda: _middle(nn.Conv2d(16, 24, 3), 16, 24)),
    Case(
        "conv_same_padding",
        "padding='same' with a kernel that is not square",
        "b",
        lambda: _middle(nn.Conv2d(16, 12, (5, 3), padding="same"), 16, 12),
    ),
    Case(
        "conv_reflect",
        "padding by reflection, an operation of its own",
        "a.conv",
        lambda: _middle(conv_norm(16, 12, padding_mode="reflect"), 16, 12),
    ),
    Case(
        "conv_circular",
        "circular padding",
        "a.conv",
        lambda: _middle(conv_norm(16, 12, padding_mode="circular"), 16, 12),
    ),
    Case("conv1d", "one dimension", "a.conv", lambda: _flat(nn.Conv1d, nn.BatchNorm1d), image(2, 16)),
    Case("conv3d", "three dimensions", "a.conv", lambda: _flat(nn.Conv3d, nn.BatchNorm3d), image(2, 4, 4, 4)),
    Case(
        "depthwise",
        "a filter per channel: inputs, outputs and conv groups shrink together",
        "a.conv",
        lambda: _middle(conv_norm(16, 16, groups=16)),
    ),
    Case(
        "depthwise_bias",
        "a depthwise convolution with bias",
        "a.conv",
        lambda: _middle(nn.Conv2d(16, 16, 3, groups=16)),
    ),
    Case(
        "depthwise_multiplier",
        "two filters per channel: one input takes two outputs with it",
        "a.conv",
        lambda: _middle(conv_norm(8, 16, groups=8), 8),
    ),
    Case("inverted_residual", "MobileNetV2: expand, depthwise, project, and a residual", "expand.conv", _mobile),
    Case(
        "grouped",
        "four conv groups stay equally wide on both sides",
        "a.conv",
        lambda: _middle(conv_norm(16, 32, groups=4), 16, 32),
    ),
    Case(
        "grouped_uneven",
        "two conv groups of 4 inputs and 12 outputs",
        "b.conv",
        lambda: _middle(conv_norm(8, 24, groups=2), 8, 24),
    ),
    Case(
        "grouped_twice",
        "four conv groups behind which stand six: only multiples of both stay equal",
        "b.conv",
        _grouped_twice,
    ),
    Case("resnext", "a grouped convolution inside a residual block", "a.conv", _resnext),
    Case(
        "transposed",
        "a transposed convolution has its filters in dimension 1",
        "b.conv",
        lambda: _middle(up_norm(16, 12), 16, 12),
    ),
    Case(
        "transposed_output_padding",
        "a transposed convolution with output padding and bias",
        "b",
        lambda: _middle(nn.ConvTranspose2d(16, 12, 3, stride=2, padding=1, output_padding=1), 16, 12),
    ),
    Case(
        "transposed_grouped",
        "a transposed convolution with two conv groups: inputs in one dimension, outputs of one group in the other",
        "b.conv",
        lambda: _middle(up_norm(16, 8, groups=2), 16, 8),
    ),
    Case(
        "transposed_depthwise",
        "a transposed convolution with a filter per channel",
        "a.conv",
        lambda: _middle(up_norm(16, 16, groups=16)),
    ),
    Case(
        "dynamic_depthwise",
        "filters that a linear layer computes from the image, nine outputs per channel, batch folded into channels",
        "a.conv",
        lambda: Micro(dynamic_depthwise, a=conv_norm(3, 8), kernel=nn.Linear(8, 72), head=head(8)),
    ),
    Case(
        "blur_expanded",
        "BlurPool: one fixed filter, expanded to the channels that arrive",
        "a.conv",
        lambda: _blurred(blur_expanded, ring_blur()),
    ),
    Case(
        "blur_stored",
        "a fixed filter that is stored once per channel: all rows of the buffer are equal",
        "a.conv",
        lambda: _blurred(blur_stored, ring_blur().repeat(16, 1, 1, 1)),
    ),
    Case(
        "blur_fixed",
        "a fixed filter, expanded to a number in the code",
        "a.conv",
        lambda: _blurred(blur_fixed, ring_blur()),
    ),
    Case(
        "flattened_conv",
        "a one-dimensional convolution over the flattened map",
        "a.conv",
        lambda: Micro(flattened_conv, a=conv_norm(3, 12), b=nn.Conv1d(12, 10, 5), head=nn.Conv1d(10, 4, 1)),
    ),
    Case(
        "rows_as_batch",
        "the rows of the map become the batch of a one-dimensional convolution",
        "a.conv",
        lambda: Micro(rows_as_batch, a=conv_norm(3, 12), b=nn.Conv1d(12, 10, 3, padding=1), head=head(10)),
    ),
)
