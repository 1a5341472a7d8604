"""Gates and attention: channels that are squeezed, multiplied with each other, or split into heads."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .case import Case, Micro, conv_norm, head


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


def non_local_auto(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    theta, phi, g = (part(x).flatten(2) for part in (net.theta, net.phi, net.g))
    attention = (theta.transpose(1, 2) @ phi).softmax(-1)
    y = (attention @ g.transpose(1, 2)).transpose(1, 2)
    return net.head(x + net.out(y.reshape(x.size(0), -1, *x.shape[2:])))


def non_local_fixed(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    theta, phi, g = (part(x).view(x.size(0), net.inner, -1) for part in (net.theta, net.phi, net.g))
    attention = (theta.transpose(1, 2) @ phi).softmax(-1)
    y = (attention @ g.transpose(1, 2)).transpose(1, 2).contiguous()
    return net.head(x + net.out(y.view(x.size(0), net.inner, *x.shape[2:])))


def scaled_by_width(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    q, k, v = (part(x).flatten(2) for part in (net.theta, net.phi, net.g))
    attention = (q.transpose(1, 2) @ k * q.size(1) ** -0.5).softmax(-1)
    y = (v @ attention.transpose(1, 2)).unflatten(2, x.shape[2:])
    return net.head(x + net.out(y))


def flash_attention(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    q, k, v = (part(x).flatten(2).transpose(1, 2) for part in (net.theta, net.phi, net.g))
    y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
    return net.head(x + net.out(y.unflatten(2, x.shape[2:])))


def heads_auto(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    batch, _, height, width = x.shape
    q, k, v = (part(x).view(batch, 2, -1, height * width) for part in (net.theta, net.phi, net.g))
    attention = (q.transpose(2, 3) @ k).softmax(-1)
    y = (v @ attention.transpose(2, 3)).reshape(batch, -1, height, width)
    return net.head(x + net.out(y))


def heads_joint(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    batch, _, height, width = x.shape
    q, k, v = net.qkv(x).view(batch, 2, 3 * net.inner, -1).split(net.inner, 2)
    attention = (q.transpose(2, 3) @ k).softmax(-1)
    y = (v @ attention.transpose(2, 3)).reshape(batch, 2 * net.inner, height, width)
    return net.head(x + net.out(y))


def library_heads(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    tokens = x.flatten(2).transpose(1, 2)
    mixed, _ = net.attention(tokens, tokens, tokens, need_weights=False)
    return net.head(x + mixed.transpose(1, 2).unflatten(2, x.shape[2:]))


def channel_attention(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    flat = x.flatten(2)
    attention = (flat @ flat.transpose(1, 2)).softmax(-1)
    return net.head(x + (attention @ flat).view_as(x))


def gram(net: Any, x: Tensor) -> Tensor:
    flat = net.a(x).relu().flatten(2)
    return net.linear((flat @ flat.transpose(1, 2)).flatten(1))


def correlation(net: Any, x: Tensor) -> Tensor:
    return net.head((net.a(x) * net.b(x)).sum(1, keepdim=True))


def _squeeze(run: Any, inner: int = 4) -> nn.Module:
    return Micro(run, a=conv_norm(3, 16), fc1=nn.Conv2d(16, inner, 1), fc2=nn.Conv2d(inner, 16, 1), head=head(16))


def _squeeze_linear(run: Any) -> nn.Module:
    return Micro(run, a=conv_norm(3, 16), fc1=nn.Linear(16, 6), fc2=nn.Linear(6, 16), head=head(16))


def _products(run: Any, width: int = 8, /, **more: Any) -> nn.Module:
    parts = {name: nn.Conv2d(16, width, 1) for name in ("theta", "phi", "g")}
    return Micro(run, a=conv_norm(3, 16), **parts, out=nn.Conv2d(width, 16, 1), head=head(16), **more)


CASES = (
    Case("se_conv", lambda: _squeeze(se_conv), prunes=(("a.conv fc2", 16), ("fc1", 4))),
    Case("se_linear", lambda: _squeeze_linear(se_linear), prunes=(("a.conv fc2", 16), ("fc1", 6))),
    Case(
        "se_fixed",
        lambda: _squeeze_linear(se_fixed),
        prunes=(("fc1", 6),),
        pinned={"a.conv": "view", "fc2": "view"},
    ),
    Case("cbam_channel", lambda: _squeeze(cbam_channel), prunes=(("a.conv fc2", 16), ("fc1", 4))),
    Case(
        "eca",
        lambda: Micro(eca, a=conv_norm(3, 16), mix=nn.Conv1d(1, 1, 3, padding=1), head=head(16)),
        pinned={"a.conv": "conv"},
    ),
    Case(
        "cbam_spatial",
        lambda: Micro(cbam_spatial, a=conv_norm(3, 16), mix=nn.Conv2d(2, 1, 3, padding=1), head=head(16)),
        pinned={"a.conv": "mean"},
    ),
    Case(
        "spatial_gate",
        lambda: Micro(spatial_gate, a=conv_norm(3, 16), mask=nn.Conv2d(16, 1, 3, padding=1), head=head(16)),
        prunes=(("a.conv", 16),),
    ),
    Case(
        "global_context",
        lambda: Micro(
            global_context,
            a=conv_norm(3, 16),
            mask=nn.Conv2d(16, 1, 1),
            fc1=nn.Conv2d(16, 6, 1),
            fc2=nn.Conv2d(6, 16, 1),
            head=head(16),
        ),
        prunes=(("a.conv fc2", 16), ("fc1", 6)),
    ),
    Case(
        "selective_kernel",
        lambda: Micro(
            selective_kernel,
            a=conv_norm(3, 16),
            b=conv_norm(3, 16, 5),
            fc1=nn.Linear(16, 6),
            fc2=nn.Linear(6, 32),
            head=head(16),
        ),
        prunes=(("a.conv b.conv fc2", 16), ("fc1", 6)),
    ),
    Case(
        "non_local_auto",
        lambda: _products(non_local_auto),
        prunes=(("a.conv out", 16), ("theta phi", 8), ("g", 8)),
        masked="all",
    ),
    Case(
        "non_local_fixed",
        lambda: _products(non_local_fixed, 8, inner=8),
        prunes=(("a.conv out", 16),),
        pinned={"theta": "view", "phi": "view", "g": "view"},
    ),
    Case(
        "attention_scaled_by_width",
        lambda: _products(scaled_by_width),
        prunes=(("a.conv out", 16), ("g", 8)),
        pinned={"theta": "", "phi": ""},
    ),
    Case(
        "flash_attention",
        lambda: _products(flash_attention),
        prunes=(("a.conv out", 16), ("g", 8)),
        pinned={"theta": "number", "phi": "number"},
    ),
    Case(
        "heads_auto",
        lambda: _products(heads_auto, 12),
        prunes=(("a.conv out", 16), ("theta phi", 6), ("g", 6)),
        masked="all",
    ),
    Case(
        "heads_joint",
        lambda: Micro(
            heads_joint,
            a=conv_norm(3, 16),
            qkv=nn.Conv2d(16, 24, 1),
            out=nn.Conv2d(8, 16, 1),
            head=head(16),
            inner=4,
        ),
        prunes=(("a.conv out", 16),),
        pinned={"qkv": "view|split"},
    ),
    Case(
        "library_heads",
        lambda: Micro(
            library_heads,
            a=conv_norm(3, 16),
            attention=nn.MultiheadAttention(16, 2, batch_first=True),
            head=head(16),
        ),
        pinned={"a.conv": ""},
    ),
    Case(
        "channel_attention",
        lambda: Micro(channel_attention, a=conv_norm(3, 8), head=head(8)),
        pinned={"a.conv": "softmax"},
    ),
    Case(
        "gram",
        lambda: Micro(gram, a=conv_norm(3, 8), linear=nn.Linear(64, 5)),
        pinned={"a.conv": "view merges"},
    ),
    Case(
        "correlation",
        lambda: Micro(correlation, a=conv_norm(3, 8), b=conv_norm(3, 8), head=head(1)),
        pinned={"a.conv": "sum", "b.conv": "sum"},
    ),
)
