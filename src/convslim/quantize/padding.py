"""Convolutions with ``padding="same"``, written with numbers, as files of integers have it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Final

from torch import nn

FORWARDS: Final = tuple(kind.forward for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d))


def symmetric(padding: object, kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...] | None:
    """The same number of zeros on both sides of every axis; None where the right side has one more.

    ``"same"`` adds ``dilation · (kernel - 1)`` zeros along an axis, half of them on each side.

    >>> symmetric("same", (3, 5), (2, 1)), symmetric("same", (4, 3), (1, 1)), symmetric("valid", (3,), (1,))
    ((2, 2), None, (0,))
    """
    if padding == "valid":
        return (0,) * len(kernel)
    totals = [step * (size - 1) for size, step in zip(kernel, dilation, strict=True)]
    if padding != "same" or any(total % 2 for total in totals):
        return None
    return tuple(total // 2 for total in totals)


def with_numbers(model: nn.Module) -> nn.Module:
    """The model, or a copy of it in which convolutions have numbers in place of ``"same"`` and ``"valid"``.

    Layers whose padding is not symmetric stay as they are, and so do those with a `forward` of their own.

    >>> with_numbers(nn.Sequential(nn.Conv2d(3, 8, 3, padding="same")))[0].padding
    (1, 1)
    """
    found = {name: numbers for name, module in model.named_modules() if (numbers := _numbers(module)) is not None}
    if not found:
        return model
    changed = copy.deepcopy(model)
    for name, numbers in found.items():
        layer: Any = changed.get_submodule(name)
        layer.padding = numbers
    return changed


def _numbers(module: Any) -> tuple[int, ...] | None:
    own = getattr(type(module), "forward", None) in FORWARDS and isinstance(module.padding, str)
    if not own or module.padding_mode != "zeros":
        return None
    return symmetric(module.padding, module.kernel_size, module.dilation)
