"""Gates: what is squeezed from the channels and multiplied back onto them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convslim.conformance.case import Case, Micro, conv_norm, head, image, parameter


def se_conv(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    gate = net.fc2(net.fc1(F.adaptive_avg_pool2d(x, 1)).relu())
    return net.head(x * gate.sigmoid())


def se_linear(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    batch, channels, _, _ = x.size()
    gate = net.fc2(net.fc1(x.mean((2, 3))).relu()).view(batch, channels, 1, 1)
    return net.head(x * F.hardsigmoid(gate).expand_as(x))


def se_fixed(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    gate = net.fc2(net.fc1(x.mean((2, 3))).relu()).view(-1, 16, 1, 1)
    return net.head(x * gate.sigmoid())


def se_depthwise(net: Any, x: Tensor) -> Tensor:
    x = net.depthwise(net.a(x).relu()).relu()
    gate = net.fc2(net.fc1(x.mean((2, 3), keepdim=True)).relu())
    return net.head(x * gate.sigmoid())


def eca(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    gate = net.mix(F.adaptive_avg_pool2d(x, 1).squeeze(-1).transpose(-1, -2))
    return net.head(x * gate.transpose(-1, -2).unsqueeze(-1).sigmoid())


def cbam_spatial(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
    return net.head(x * net.mix(pooled).sigmoid())


def cbam_channel(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    mean = net.fc2(net.fc1(x.mean((2, 3), keepdim=True)).relu())
    most = net.fc2(net.fc1(x.amax((2, 3), keepdim=True)).relu())
    return net.head(x * (mean + most).sigmoid())


def spatial_gate(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head(x * net.mask(x).sigmoid())


def global_context(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    weight = net.mask(x).flatten(2).softmax(-1)
    context = (x.flatten(2) @ weight.transpose(1, 2)).unsqueeze(-1)
    return net.head(x + net.fc2(net.fc1(context).relu()))


def selective_kernel(net: Any, x: Tensor) -> Tensor:
    branches = torch.stack([net.a(x).relu(), net.b(x).relu()], 1)
    squeezed = net.fc1(branches.sum(1).mean((2, 3))).relu()
    weight = net.fc2(squeezed).view(x.size(0), 2, -1, 1, 1).softmax(1)
    return net.head((branches * weight).sum(1))


def coordinate_attention(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    height = x.size(2)
    both = torch.cat([x.mean(3, keepdim=True), x.mean(2, keepdim=True).transpose(2, 3)], 2)
    rows, columns = net.squeeze(both).relu().split([height, x.size(3)], 2)
    return net.head(x * net.rows(rows).sigmoid() * net.columns(columns.transpose(2, 3)).sigmoid())


def scalar_gate(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    return net.head(x + torch.tanh(net.gate) * net.b(x))


def film(net: Any, x: Tensor, style: Tensor) -> Tensor:
    scale, shift = net.style(style).chunk(2, 1)
    x = net.a(x) * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
    return net.head(x.relu())


def adaptive_instance_norm(net: Any, x: Tensor, style: Tensor) -> Tensor:
    scale, shift = net.style(style).view(x.size(0), 2, -1, 1, 1).unbind(1)
    return net.head((F.instance_norm(net.a(x)) * scale + shift).relu())


def gated_convolution(net: Any, x: Tensor) -> Tensor:
    values, gate = net.a(x).chunk(2, 1)
    x = F.elu(values) * gate.sigmoid()
    return net.head(x)


def _squeeze(run: Any, inner: int = 4) -> nn.Module:
    return Micro(run, a=conv_norm(3, 16), fc1=nn.Conv2d(16, inner, 1), fc2=nn.Conv2d(inner, 16, 1), head=head(16))


def _squeeze_linear(run: Any) -> nn.Module:
    return Micro(run, a=conv_norm(3, 16), fc1=nn.Linear(16, 6), fc2=nn.Linear(6, 16), head=head(16))


def _styled(run: Any) -> nn.Module:
    return Micro(run, a=nn.Conv2d(3, 16, 3, padding=1), style=nn.Linear(6, 32), head=head(16))


def _image_and_style(batch: int, seed: int) -> tuple[Tensor, Tensor]:
    return image(3)(batch, seed), image(6, 1)(batch, seed + 1000)[..., 0]


def _selective_kernel() -> nn.Module:
    parts = {"a": conv_norm(3, 16), "b": conv_norm(3, 16, 5), "fc1": nn.Linear(16, 6), "fc2": nn.Linear(6, 32)}
    return Micro(selective_kernel, **parts, head=head(16))


def _coordinate_attention() -> nn.Module:
    parts = {"squeeze": conv_norm(16, 6, 1), "rows": nn.Conv2d(6, 16, 1), "columns": nn.Conv2d(6, 16, 1)}
    return Micro(coordinate_attention, a=conv_norm(3, 16), **parts, head=head(16))


CASES = (
    Case(
        "se_conv",
        "squeeze-and-excitation: the gate's outputs are coupled to its inputs",
        "a.conv",
        lambda: _squeeze(se_conv),
    ),
    Case("se_linear", "the same with linear layers and a computed view", "a.conv", lambda: _squeeze_linear(se_linear)),
    Case("se_fixed", "the same with the width in the code", "a.conv", lambda: _squeeze_linear(se_fixed)),
    Case(
        "se_depthwise",
        "a gate on a depthwise layer: expansion, filters and both gate layers in one set",
        "a.conv",
        lambda: Micro(
            se_depthwise,
            a=conv_norm(3, 16),
            depthwise=conv_norm(16, 16, groups=16),
            fc1=nn.Conv2d(16, 4, 1),
            fc2=nn.Conv2d(4, 16, 1),
            head=head(16),
        ),
    ),
    Case(
        "eca",
        "a one-dimensional convolution along the channels: neighbors matter",
        "a.conv",
        lambda: Micro(eca, a=conv_norm(3, 16), mix=nn.Conv1d(1, 1, 3, padding=1), head=head(16)),
    ),
    Case(
        "cbam_channel", "CBAM: one small network, used on means and on maxima", "a.conv", lambda: _squeeze(cbam_channel)
    ),
    Case(
        "cbam_spatial",
        "CBAM: mean and maximum over the channels",
        "a.conv",
        lambda: Micro(cbam_spatial, a=conv_norm(3, 16), mix=nn.Conv2d(2, 1, 3, padding=1), head=head(16)),
    ),
    Case(
        "spatial_gate",
        "one map gates all channels",
        "a.conv",
        lambda: Micro(spatial_gate, a=conv_norm(3, 16), mask=nn.Conv2d(16, 1, 3, padding=1), head=head(16)),
    ),
    Case(
        "global_context",
        "GCNet: a product of the flattened map with one softmax over space",
        "a.conv",
        lambda: Micro(
            global_context,
            a=conv_norm(3, 16),
            mask=nn.Conv2d(16, 1, 1),
            fc1=nn.Conv2d(16, 6, 1),
            fc2=nn.Conv2d(6, 16, 1),
            head=head(16),
        ),
    ),
    Case(
        "selective_kernel",
        "SKNet: two branches stacked, weighted by two halves of one layer's outputs",
        "a.conv",
        _selective_kernel,
    ),
    Case(
        "coordinate_attention",
        "rows and columns concatenated in space, squeezed together, split again",
        "a.conv",
        _coordinate_attention,
    ),
    Case(
        "scalar_gate",
        "ReZero: a branch times one learned number",
        "a.conv",
        lambda: Micro(scalar_gate, a=conv_norm(3, 16), b=conv_norm(16, 16), gate=parameter(1), head=head(16)),
        channel_dims={"gate": None},
    ),
    Case(
        "film",
        "FiLM: scale and shift per channel are two halves of a linear layer of another input",
        "a",
        lambda: _styled(film),
        _image_and_style,
    ),
    Case(
        "adaptive_instance_norm",
        "AdaIN: the same by a view into two rows, on instance-normalized maps",
        "a",
        lambda: _styled(adaptive_instance_norm),
        _image_and_style,
    ),
    Case(
        "gated_convolution",
        "one half of a layer's channels gates the other",
        "a.conv",
        lambda: Micro(gated_convolution, a=conv_norm(3, 24), head=head(12)),
    ),
)
