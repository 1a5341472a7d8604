"""Rounding activations to their grid while gradients pass as if nothing was rounded."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from convslim.errors import ModelError
from convslim.quantize.grid import ACTIVATION_LEVELS, Grid, affine_grid, snap
from convslim.quantize.observers import Observer
from convslim.quantize.phase import Phase

Ends = tuple[float, float]
UNLIMITED: Ends = (-math.inf, math.inf)


class _StraightThrough(torch.autograd.Function):
    """Forward ``snap(x)``; backward the gradient where x was not clamped, 0 elsewhere."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, ends: Ends) -> Tensor:
        """Round to the grid."""
        grid = Grid(scale, zero_point)
        half = float(scale) / 2
        ctx.save_for_backward(x)
        ctx.ends = max(float(grid.low) - half, ends[0]), min(float(grid.high) + half, ends[1])
        return snap(x, grid)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """The gradient of clamping."""
        (x,) = ctx.saved_tensors
        # In the memory order of x: gradients from averages come in another one, in which BatchNorm's backward is slow.
        gradient = in_order_of(gradients[0], x)
        # One pass; PyTorch's own fake quantization kernels take five times as long on a CPU.
        return torch.ops.aten.hardtanh_backward(gradient, x, *ctx.ends), None, None, None


def in_order_of(tensor: Tensor, like: Tensor) -> Tensor:
    """The tensor with its numbers in memory as those of another one of its shape."""
    if tensor.stride() == like.stride():
        return tensor
    return torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)


def fake_quantize(x: Tensor, grid: Grid, ends: Ends = UNLIMITED) -> Tensor:
    """Clamp, and round to a grid, with a straight-through gradient: 1 where x is in the range, 0 elsewhere.

    The range is that of the x with ``round(x/S) + Z`` in 0…255, and between the ends.

    Args:
        x: Any shape, floating point; the arithmetic is float32.
        grid: Where to round to.
        ends: Between which numbers to clamp, ``(0, inf)`` for ReLU. Costs nothing where the grid ends there anyway.

    >>> x = torch.tensor([-9.0, 0.26, 99.0], requires_grad=True)
    >>> y = fake_quantize(x, Grid(torch.tensor(0.1), torch.tensor(10.0)))
    >>> y.sum().backward()
    >>> [round(value, 2) for value in y.tolist()], x.grad
    ([-1.0, 0.3, 24.5], tensor([0., 1., 0.]))

    References:
        Bengio, Léonard, Courville, "Estimating or Propagating Gradients Through Stochastic Neurons for Conditional
        Computation", 2013.
    """
    if not (ends[0] <= float(grid.low) and float(grid.high) <= ends[1]):
        x = x.clamp(*ends)
    if torch.is_grad_enabled() and x.requires_grad:
        result: Tensor = _StraightThrough.apply(x, grid.scale, grid.zero_point, ends)
        return result
    return snap(x, grid)


def round_learning(x: Tensor, scale: Tensor, low: float, high: float, count: int) -> Tensor:
    """``s·round(clamp(x/s, low, high))`` with gradients by x and by s, see :mod:`convslim.quantize.learned`.

    Args:
        x: Any shape; the arithmetic is float32.
        scale: s, of a shape that broadcasts to x.
        low, high: Ends of the integers, the zero point taken off.
        count: How many values share a step.

    >>> scale = torch.tensor(0.5, requires_grad=True)
    >>> y = round_learning(torch.tensor([0.6, 9.0]), scale, -4, 3, 1)
    >>> y.sum().backward()
    >>> y.tolist(), round(float(scale.grad), 3)  # (1 - 1.2 + 3) / √3
    ([0.5, 1.5], 1.617)
    """
    share = 1 / math.sqrt(count * max(high, 1.0))
    step = scale.abs()
    step = step * share + (step - step * share).detach()
    steps = (x.float() / step).clamp(low, high)
    return ((steps + (steps.round() - steps).detach()) * step).to(x.dtype)


class ActivationQuantizer(nn.Module):
    """One grid and the places that share it; concatenated tensors share one, so every place has an observer of its own.

    Args:
        name: What errors call it.
        observers: One for every place; the grid holds all their ranges.
        ends: For every place, between which numbers it clamps: ReLU is part of the grid behind it.
    """

    zero_point: Tensor

    def __init__(self, name: str, observers: list[Observer], ends: list[Ends]) -> None:
        super().__init__()
        self.name = name
        self.observers = nn.ModuleList(observers)  # type: ignore[arg-type]
        self.ends = ends
        self.step: nn.Parameter | None = None
        self.register_buffer("zero_point", torch.zeros(()))

    def learn_(self) -> None:
        """Make the scale of the present grid a parameter; the zero point stays."""
        found = self.grid()
        self.zero_point.copy_(found.zero_point)
        self.step = nn.Parameter(found.scale.clone())

    def grid(self) -> Grid:
        """The present grid.

        Raises:
            ModelError: If nothing was observed yet, or the range is not finite.
        """
        if self.step is not None:
            return Grid(self.step.detach().abs(), self.zero_point)
        places = zip(self.observers, self.ends, strict=True)
        ranges = [(*observer.range(), *ends) for observer, ends in places if observer.seen]  # type: ignore[operator]
        if not ranges:
            raise ModelError(
                f"The range of activation {self.name!r} is not known: no image has run through it. Calibrate the "
                "network on some images first, or train it."
            )
        low = torch.stack([low.clamp(smallest, largest) for low, _, smallest, largest in ranges]).min()
        high = torch.stack([high.clamp(smallest, largest) for _, high, smallest, largest in ranges]).max()
        if not (low.isfinite() and high.isfinite()):
            raise ModelError(
                f"The range of activation {self.name!r} is {float(low)} to {float(high)}: the network gave NaN or "
                "infinite values for these images. Check the images and the weights."
            )
        return affine_grid(low, high)

    def forward(self, x: Tensor, place: int, phase: Phase) -> Tensor:
        """Clamp, observe and round, as far as the phase says so."""
        if not phase.activations and self.ends[place] != UNLIMITED:
            x = x.clamp(*self.ends[place])
        if phase.observe:
            self.observers[place](x)
        if not phase.activations:
            return x
        if self.step is not None and torch.is_grad_enabled():
            zero = float(self.zero_point)
            bounded = x.clamp(*self.ends[place])
            return round_learning(bounded, self.step, -zero, ACTIVATION_LEVELS - zero, x[:1].numel())
        return fake_quantize(x, self.grid(), self.ends[place])
