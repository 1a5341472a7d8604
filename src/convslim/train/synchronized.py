"""BatchNorm over the images of all processes, on CPUs and GPUs.

The processes of a training share each batch. A BatchNorm that normalized by its own process's share would train another
network than one process does. PyTorch's `SyncBatchNorm` refuses tensors on CPUs and stands in place of the modules;
here the modules stay, and the functions that they call look at all processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, distributed
from torch.autograd import Variable
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from convslim.quantize.fake import in_order_of

_aten = torch.ops.aten
_NATIVE: Final = ("input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps")
_PLAIN: Final[Mapping[Callable[..., Any], Sequence[str]]] = {
    F.batch_norm: ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
    torch.batch_norm: _NATIVE,
    _aten.batch_norm.default: _NATIVE,
}
_WITH_STATISTICS: Final[Mapping[Callable[..., Any], Sequence[str]]] = {
    torch.native_batch_norm: _NATIVE,
    _aten.native_batch_norm.default: _NATIVE,
    _aten._native_batch_norm_legit.default: _NATIVE,
}


@contextmanager
def synchronized(*, enabled: bool = True) -> Iterator[None]:
    """Let every BatchNorm in training take the mean and variance of what all processes of the default group see.

    With n_p values of a channel in process p, mean m_p and biased variance v_p: μ = Σ n_p·m_p / N,
    σ² = Σ n_p·(v_p + (m_p − μ)²) / N, N = Σ n_p. Running statistics move as `nn.BatchNorm`'s do, and are the same
    numbers in all processes. Gradients are those of the sum of all processes' losses. All processes must run the same
    BatchNorms, forward and backward; one of them may have no image. The backward pass belongs inside, too, for
    networks that compute parts of the forward pass again there.

    Modules, their classes, names and flags stay as they are; a BatchNorm is whatever calls PyTorch's functions for it.
    """
    if not enabled:
        yield
        return
    with _OverProcesses():
        yield


class _OverProcesses(TorchFunctionMode):
    """Replaces batch normalization in training."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.backward and not any(value is not None and value is not False for value in kwargs.values()):
            with self:  # a mode is off while a function runs that it was asked about
                return _go_back(args[0])
        names = _PLAIN.get(func) or _WITH_STATISTICS.get(func)
        given = dict(zip(names or (), args, strict=False)) | dict(kwargs)
        if names is None or not given.get("training"):
            return func(*args, **kwargs)
        x, eps = given["input"], given.get("eps", 1e-5)
        moments = _moments(x)
        _follow_((given.get("running_mean"), given.get("running_var")), moments, given.get("momentum", 0.1))
        mean, variance = (tensor.to(_precision(x)) for tensor in (moments.mean, moments.variance))
        outputs = _Normalize.apply(x, given.get("weight"), given.get("bias"), mean, variance, moments.total, eps)
        if func in _PLAIN:
            return outputs
        return outputs, mean, (variance + eps).rsqrt()


def _go_back(loss: Tensor) -> None:
    """`loss.backward()`, past the functions that would switch a mode off for all that they call."""
    Variable._execution_engine.run_backward(
        (loss,), (torch.ones_like(loss),), False, False, (), allow_unreachable=True, accumulate_grad=True
    )


class _Moments(NamedTuple):
    """Of all processes, float64: values in a channel, and mean and biased variance (C,)."""

    total: Tensor
    mean: Tensor
    variance: Tensor


@torch.no_grad()
def _moments(x: Tensor) -> _Moments:
    """Raises `ValueError` as PyTorch does, if all processes together have one value per channel, or none."""
    channels, size = x.shape[1], x.numel() // max(x.shape[1], 1)
    own = x.new_zeros(2 * channels + 1, dtype=torch.float64)
    if size:
        # Given statistics of its own, which stay unused, the kernel computes those of bfloat16 images in float32.
        zeros = x.new_zeros(channels, dtype=_precision(x))
        own[:-1] = torch.cat(torch.batch_norm_update_stats(x, zeros, torch.ones_like(zeros), 0.0))
        own[-1] = size
    gathered = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(gathered, own)
    found = torch.stack(gathered)
    means, variances, counts = found[:, :channels], found[:, channels:-1], found[:, -1:]
    total = counts.sum()
    if size < 2 and total < 2:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}")
    mean = (counts * means).sum(0) / total
    variance = (counts * (variances + (means - mean).square())).sum(0) / total
    return _Moments(total, mean, variance)


@torch.no_grad()
def _follow_(running: Sequence[Tensor | None], moments: _Moments, momentum: float) -> None:
    """Move running mean and variance towards the batch's, the variance unbiased as PyTorch keeps it."""
    unbiased = moments.variance * moments.total / (moments.total - 1)
    for tensor, batch in zip(running, (moments.mean, unbiased), strict=True):
        if tensor is not None:
            tensor.mul_(1 - momentum).add_(batch.to(tensor.dtype), alpha=momentum)


def _precision(x: Tensor) -> torch.dtype:
    """Of the statistics of x."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _like(tensor: Tensor | None, mean: Tensor) -> Tensor | None:
    return None if tensor is None else tensor.to(mean.dtype)


class _Normalize(torch.autograd.Function):
    """y = γ·x̂ + β with x̂ = (x − μ)/√(σ² + ε), where μ and σ² depend on the x of all processes.

    dγ = Σ dy·x̂ and dβ = Σ dy are of this process; with their sums over all, Γ and B,
    dx = γ/√(σ² + ε) · (dy − B/N − x̂·Γ/N).
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        total: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance, total)
        ctx.eps = eps
        if not x.numel():
            return torch.empty_like(x)
        return F.batch_norm(x, mean, variance, _like(weight, mean), _like(bias, mean), False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, total = ctx.saved_tensors
        scale = _like(weight, mean)
        dx, dscale, dshift = torch.empty_like(x), torch.zeros_like(mean), torch.zeros_like(mean)
        if x.numel():
            # With fixed statistics: one pass that gives γ/√(σ² + ε)·dy and both sums.
            dx, dscale, dshift = _aten.native_batch_norm_backward(
                in_order_of(dy, x), x, scale, mean, variance, None, None, False, ctx.eps, [True, True, True]
            )
        if ctx.needs_input_grad[0]:
            sums = torch.stack([dscale, dshift]).double()
            distributed.all_reduce(sums)
            factor = (variance + ctx.eps).rsqrt() * (1 if scale is None else scale)
            slope, shift = -factor * (sums / total).to(mean.dtype)
            if x.numel():
                dx = dx.add_(F.batch_norm(x, mean, variance, slope, shift, False, 0.0, ctx.eps))
        needs_scale, needs_shift = ctx.needs_input_grad[1:3]
        return dx, dscale if needs_scale else None, dshift if needs_shift else None, None, None, None, None
