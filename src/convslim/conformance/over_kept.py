"""Statistics over the kept part of a tensor only, in plain formulas.

A layer that normalizes over channels and has lost some of them takes mean and variance of those that are left. These
functions say what it must give, computed from the whole tensor and a mask of what was kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def _zeroed(x: Tensor, kept: Tensor) -> Tensor:
    return torch.where(kept, x, torch.zeros_like(x))


def _dims(x: Tensor, dim: Any) -> list[int]:
    if dim is None or dim == []:
        return list(range(x.dim()))
    return [dim] if isinstance(dim, int) else list(dim)


def mean(x: Tensor, kept: Tensor, dim: Any = None, keepdim: bool = False, **_: Any) -> Tensor:
    """Sum of the kept values / their number."""
    dims = _dims(x, dim)
    return _zeroed(x, kept).sum(dims, keepdim) / kept.sum(dims, keepdim).clamp(min=1)


def var(x: Tensor, kept: Tensor, dim: Any = None, correction: Any = None, keepdim: bool = False) -> Tensor:
    """Sum of squared distances of the kept values from their mean / (their number - correction)."""
    dims = _dims(x, dim)
    squares = (x - mean(x, kept, dims, keepdim=True)).square()
    number = kept.sum(dims, keepdim) - (1 if correction is None else correction)
    return _zeroed(squares, kept).sum(dims, keepdim) / number.clamp(min=1)


def std(x: Tensor, kept: Tensor, dim: Any = None, correction: Any = None, keepdim: bool = False) -> Tensor:
    """Root of :func:`var`."""
    return var(x, kept, dim, correction, keepdim).sqrt()


def var_mean(
    x: Tensor, kept: Tensor, dim: Any = None, correction: Any = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    """:func:`var` and :func:`mean`."""
    return var(x, kept, dim, correction, keepdim), mean(x, kept, dim, keepdim)


def norm(x: Tensor, kept: Tensor, order: Any = 2, dim: Any = None, keepdim: bool = False, **_: Any) -> Tensor:
    """Length of the vector of kept values."""
    return torch.linalg.vector_norm(_zeroed(x, kept), order, _dims(x, dim), keepdim)


def amax(x: Tensor, kept: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Largest kept value."""
    return x.masked_fill(~kept, -torch.inf).amax(_dims(x, dim), keepdim)


def amin(x: Tensor, kept: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Smallest kept value."""
    return x.masked_fill(~kept, torch.inf).amin(_dims(x, dim), keepdim)


def logsumexp(x: Tensor, kept: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """Logarithm of the sum of exponentials of the kept values."""
    return x.masked_fill(~kept, -torch.inf).logsumexp(_dims(x, dim), keepdim)


def softmax(x: Tensor, kept: Tensor, dim: int, *_: Any) -> Tensor:
    """Exponentials of the kept values / their sum."""
    return x.masked_fill(~kept, -torch.inf).softmax(dim).nan_to_num(0.0)


def log_softmax(x: Tensor, kept: Tensor, dim: int, *_: Any) -> Tensor:
    """Logarithm of :func:`softmax`; 0 where nothing was kept."""
    return _zeroed(x.masked_fill(~kept, -torch.inf).log_softmax(dim), kept)


def _standardized(x: Tensor, kept: Tensor, dims: list[int], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    center = mean(x, kept, dims, keepdim=True)
    scale = (var(x, kept, dims, correction=0, keepdim=True) + eps).rsqrt()
    return (x - center) * scale, center, scale


def layer_norm(x: Tensor, kept: Tensor, shape: Any, weight: Any, bias: Any, eps: float) -> tuple[Tensor, ...]:
    """Layer normalization whose mean and variance are those of the kept values."""
    y, center, scale = _standardized(x, kept, list(range(x.dim() - len(shape), x.dim())), eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias, center, scale


def rms_norm(x: Tensor, kept: Tensor, shape: Any, weight: Any, eps: float | None) -> tuple[Tensor, Tensor]:
    """Values / root of the kept values' mean square."""
    dims = list(range(x.dim() - len(shape), x.dim()))
    scale = (mean(x.square(), kept, dims, keepdim=True) + (torch.finfo(x.dtype).eps if eps is None else eps)).rsqrt()
    return x * scale if weight is None else x * scale * weight, scale


def group_norm(
    x: Tensor, kept: Tensor, weight: Any, bias: Any, _n: int, channels: int, _space: int, groups: int, eps: float
) -> tuple[Tensor, ...]:
    """Group normalization whose means and variances are those of the kept values, in the original sets."""
    shape = (x.size(0), groups, -1)
    y, center, scale = _standardized(x.reshape(shape), kept.reshape(shape), [2], eps)
    y = y.reshape(x.shape)
    per_channel = (1, channels, *[1] * (x.dim() - 2))
    y = y if weight is None else y * weight.reshape(per_channel)
    return y if bias is None else y + bias.reshape(per_channel), center, scale


def batch_norm(x: Tensor, kept: Tensor, weight: Any, bias: Any, *numbers: Any) -> tuple[Tensor, ...]:
    """Batch normalization by the kept values' own statistics, as code that standardizes weights uses it."""
    y, center, scale = _standardized(x, kept, [dim for dim in range(x.dim()) if dim != 1], numbers[-1])
    per_channel = (1, -1, *[1] * (x.dim() - 2))
    y = y if weight is None else y * weight.reshape(per_channel)
    return y if bias is None else y + bias.reshape(per_channel), center, scale


def weight_norm(direction: Tensor, kept: Tensor, length: Tensor, dim: int = 0) -> tuple[Tensor, Tensor]:
    """Length * direction / the norm of the direction's kept values, for each index of ``dim``."""
    size = norm(direction, kept, 2, [other for other in range(direction.dim()) if other != dim], keepdim=True)
    return direction * (length / size), size


STATISTICS: Mapping[str, Callable[..., Any]] = {
    "aten::var": var,
    "aten::std": std,
    "aten::var_mean": var_mean,
    "aten::linalg_vector_norm": norm,
    "aten::amax": amax,
    "aten::amin": amin,
    "aten::logsumexp": logsumexp,
    "aten::_softmax": softmax,
    "aten::_log_softmax": log_softmax,
    "aten::native_layer_norm": layer_norm,
    "aten::_fused_rms_norm": rms_norm,
    "aten::native_group_norm": group_norm,
    "aten::native_batch_norm": batch_norm,
    "aten::_weight_norm_interface": weight_norm,
    "aten::_safe_softmax": softmax,
}
