"""Attention: products of feature maps, heads, and numbers that depend on a width."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convslim.conformance.case import Case, Micro, conv_norm, head, parameter


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


def fused_attention(net: Any, x: Tensor) -> Tensor:
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


def token_heads(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    tokens = x.flatten(2).transpose(1, 2)
    batch, length, _ = tokens.shape
    q, k, v = net.qkv(tokens).view(batch, length, 3, net.num_heads, -1).permute(2, 0, 3, 1, 4)
    y = (q @ k.transpose(2, 3) * net.scale).softmax(-1) @ v
    y = net.out(y.transpose(1, 2).reshape(batch, length, -1))
    return net.head(x + y.transpose(1, 2).unflatten(2, x.shape[2:]))


def window_heads(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    batch, channels, height, width = x.shape
    windows = x.view(batch, channels, height // 4, 4, width // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, channels)
    q, k, v = net.qkv(windows).view(windows.size(0), 16, 3, net.num_heads, -1).permute(2, 0, 3, 1, 4)
    bias = net.table[net.index.view(-1)].view(16, 16, -1).permute(2, 0, 1)
    y = (q @ k.transpose(2, 3) * net.scale + bias).softmax(-1) @ v
    y = net.out(y.transpose(1, 2).reshape(-1, 16, net.out.in_features))
    y = y.view(batch, height // 4, width // 4, 4, 4, channels).permute(0, 5, 1, 3, 2, 4)
    return net.head(x + y.reshape(x.shape))


def library_heads(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    tokens = x.flatten(2).transpose(1, 2)
    mixed, _ = net.attention(tokens, tokens, tokens, need_weights=False)
    return net.head(x + mixed.transpose(1, 2).unflatten(2, x.shape[2:]))


def linear_attention(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    q, k, v = (part(x).flatten(2) for part in (net.theta, net.phi, net.g))
    context = k.relu() @ v.transpose(1, 2)
    y = context.transpose(1, 2) @ q.relu()
    return net.head(x + net.out(y.unflatten(2, x.shape[2:])))


def channel_attention(net: Any, x: Tensor) -> Tensor:
    x = net.a(x).relu()
    flat = x.flatten(2)
    attention = (flat @ flat.transpose(1, 2)).softmax(-1)
    return net.head(x + (attention @ flat).view_as(x))


def attention_pool(net: Any, x: Tensor) -> Tensor:
    tokens = net.a(x).relu().flatten(2).transpose(1, 2)
    weight = (tokens @ net.query).softmax(1)
    return net.linear((weight.unsqueeze(-1) * tokens).sum(1))


def gram(net: Any, x: Tensor) -> Tensor:
    flat = net.a(x).relu().flatten(2)
    return net.linear((flat @ flat.transpose(1, 2)).flatten(1))


def correlation(net: Any, x: Tensor) -> Tensor:
    return net.head((net.a(x) * net.b(x)).sum(1, keepdim=True))


def _sharp(layer: nn.Module) -> nn.Module:
    """Larger weights, or every attention would be nearly a mean, whatever happens to it."""
    with torch.no_grad():
        for weight in layer.parameters():
            weight.mul_(3)
    return layer


def _products(run: Any, width: int = 8, /, **more: Any) -> nn.Module:
    parts = {name: _sharp(nn.Conv2d(16, width, 1)) for name in ("theta", "phi", "g")}
    return Micro(run, a=conv_norm(3, 16), **parts, out=nn.Conv2d(width, 16, 1), head=head(16), **more)


def _tokens(run: Any, **more: Any) -> nn.Module:
    parts = {"qkv": _sharp(nn.Linear(16, 48)), "out": nn.Linear(16, 16), "num_heads": 2, "scale": 8**-0.5}
    return Micro(run, a=conv_norm(3, 16), **parts, head=head(16), **more)


def relative_positions(size: int) -> Tensor:
    """Row of the bias table for every pair of positions in a square window, (size**2, size**2)."""
    places = torch.stack(torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")).flatten(1)
    rows, columns = (places[:, :, None] - places[:, None, :]) + size - 1
    return rows * (2 * size - 1) + columns


CASES = (
    Case(
        "non_local_auto",
        "two layers meet in a product: their channels go in pairs",
        "theta",
        lambda: _products(non_local_auto),
    ),
    Case(
        "non_local_fixed",
        "the same with the width as an attribute of the network",
        "theta",
        lambda: _products(non_local_fixed, 8, inner=8),
    ),
    Case(
        "attention_scaled_by_width",
        "the softmax's scale is computed from the width: fewer channels, another scale",
        "theta",
        lambda: _products(scaled_by_width),
    ),
    Case(
        "fused_attention",
        "one operation that takes its scale from the width",
        "theta",
        lambda: _products(fused_attention),
    ),
    Case(
        "heads_auto",
        "two heads by a computed view: they stay equally wide",
        "theta",
        lambda: _products(heads_auto, 12),
        heads={"theta": 2, "phi": 2, "g": 2},
    ),
    Case(
        "heads_joint",
        "queries, keys and values from one layer, split by an attribute",
        "qkv",
        lambda: Micro(
            heads_joint,
            a=conv_norm(3, 16),
            qkv=_sharp(nn.Conv2d(16, 24, 1)),
            out=nn.Conv2d(8, 16, 1),
            head=head(16),
            inner=4,
        ),
        heads={"qkv": 2},
    ),
    Case(
        "token_heads",
        "ViT: three times two heads in one linear layer, taken apart by view and permute",
        "qkv",
        lambda: _tokens(token_heads),
        heads={"qkv": 2},
    ),
    Case(
        "window_heads",
        "Swin: windows, heads, and a table of relative position biases with one column per head",
        "qkv",
        lambda: _tokens(window_heads, table=parameter(49, 2), index=relative_positions(4)),
        heads={"qkv": 2},
        channel_dims={"table": None},
    ),
    Case(
        "library_heads",
        "torch.nn.MultiheadAttention",
        "a.conv",
        lambda: Micro(
            library_heads,
            a=conv_norm(3, 16),
            attention=_sharp(nn.MultiheadAttention(16, 2, batch_first=True)),
            head=head(16),
        ),
        heads={"attention": 2},
    ),
    Case(
        "linear_attention",
        "keys times values first: a matrix of channels by channels",
        "theta",
        lambda: _products(linear_attention),
    ),
    Case(
        "channel_attention",
        "a softmax over a matrix of channels by channels",
        "a.conv",
        lambda: Micro(channel_attention, a=conv_norm(3, 8), head=head(8)),
    ),
    Case(
        "attention_pool",
        "a learned query pools the map",
        "a.conv",
        lambda: Micro(attention_pool, a=conv_norm(3, 16), query=parameter(16), linear=nn.Linear(16, 5)),
        outputs=("linear",),
        channel_dims={"query": 0},
    ),
    Case(
        "gram",
        "all pairs of channels as features: one channel fills a row and a column",
        "a.conv",
        lambda: Micro(gram, a=conv_norm(3, 8), linear=nn.Linear(64, 5)),
        outputs=("linear",),
    ),
    Case(
        "correlation",
        "two branches multiplied and summed over the channels",
        "a.conv",
        lambda: Micro(correlation, a=conv_norm(3, 8), b=conv_norm(3, 8), head=head(1)),
    ),
)
