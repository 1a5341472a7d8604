"""Computing in bfloat16, without the convolutions that PyTorch's CPU kernels get wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_aten = torch.ops.aten
_STRIDED: Final = {
    *(torch.conv1d, torch.conv2d, torch.conv3d, torch.convolution),
    *(torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d),
    *(_aten.conv1d.default, _aten.conv2d.default, _aten.conv3d.default, _aten.convolution.default),
    *(_aten.conv_transpose1d.default, _aten.conv_transpose2d.input, _aten.conv_transpose3d.input),
}


@contextmanager
def autocast(device: torch.device, *, enabled: bool = True) -> Iterator[None]:
    """Run convolutions and matrix products in bfloat16; weights stay float32.

    >>> images, weight = torch.ones(1, 8, 1, 1), torch.ones(8, 8, 3, 3, requires_grad=True)
    >>> with autocast(images.device):
    ...     outputs = torch.conv2d(images, weight, None, 2, 1)
    >>> outputs.dtype
    torch.bfloat16
    >>> outputs.float().sum().backward()
    >>> weight.grad[0, 0]
    tensor([[0., 0., 0.],
            [0., 1., 0.],
            [0., 0., 0.]])
    """
    if not enabled:
        yield
        return
    with torch.autocast(device.type, dtype=torch.bfloat16), NarrowInFull():
        yield


class NarrowInFull(TorchFunctionMode):
    """Strided convolutions to outputs one pixel wide, or transposed ones of such images, in float32 and then rounded.

    On a CPU with bfloat16 instructions, oneDNN (as of PyTorch 2.13) leaves their weights' gradient unwritten where a
    weight meets nothing but padding, and now and then outputs, too: what lay in memory shows, NaN or worse. Last
    stages of a network see such maps when images are small.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        if func not in _STRIDED or not _is_narrow(found, args, kwargs):
            return found
        with torch.autocast(found.device.type, enabled=False):
            exact = func(*map(_in_full, args), **{name: _in_full(value) for name, value in kwargs.items()})
        return exact.to(found.dtype)


def _is_narrow(outputs: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    if outputs.dtype != torch.bfloat16 or outputs.device.type != "cpu":
        return False
    given = dict(zip(("input", "weight", "bias", "stride"), args, strict=False)) | dict(kwargs)
    stride, widths = given.get("stride", 1), (outputs.shape[-1], given["input"].shape[-1])
    return 1 in widths and (stride if isinstance(stride, int) else stride[-1]) > 1


def _in_full(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) else value
