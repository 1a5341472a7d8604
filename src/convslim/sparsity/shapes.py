"""What a sparsity penalty charges for a scale of a given size: its value, its slope, and its proximal operator.

Every shape r is a function of a = |γ| with r(0) as its least value; a penalty is R(γ) = Σ_c λ_c · r(|γ_c|).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from convslim.errors import TrainingError

ShapeName = Literal["l1", "l_half", "transformed_l1"]
EPSILON: Final = 1e-2

Function = Callable[[Tensor], Tensor]
Proximal = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Shape:
    """A penalty of one scale.

    Attributes:
        name: What recipes call it.
        value: r(a) for sizes a ≥ 0.
        slope: dr/da; at a = 0 the slope from the right.
        shrunk: argmin_x ½(x − a)² + t·r(|x|) for sizes a ≥ 0 and weights t ≥ 0; never negative, never above a.
        steepest: The largest slope.
    """

    name: ShapeName
    value: Function
    slope: Function
    shrunk: Proximal
    steepest: float


def _soft(a: Tensor, t: Tensor) -> Tensor:
    return (a - t).clamp_min(0)


L1: Final = Shape("l1", lambda a: a, torch.ones_like, _soft, 1.0)
"""r(a) = a."""


def l_half(epsilon: float = EPSILON) -> Shape:
    """r(a) = √(a + ε), the square root whose slope 1/(2√(a + ε)) is limited to 1/(2√ε).

    Small scales are pressed on more than large ones. In s = √(x + ε) the stationary points of the proximal objective
    solve s³ − (a + ε)·s + t/2 = 0; its largest root, by Viète's formula, is the only minimum besides x = 0.

    >>> l_half(0.01).steepest
    5.0

    References:
        Xu, Chang, Xu and Zhang, *L1/2 regularization: a thresholding representation theory and a fast solver*, IEEE
        TNNLS 2012 (ε = 0); Wang et al., *Network pruning using sparse learning and genetic algorithm*,
        Neurocomputing 2020 (the limited slope).
    """
    _check(epsilon)

    def shrunk(a: Tensor, t: Tensor) -> Tensor:
        p = a.double() + epsilon
        angle = torch.arccos((-0.75 * t.double() / p * (3 / p).sqrt()).clamp_min(-1))
        x = ((2 * (p / 3).sqrt() * torch.cos(angle / 3)) ** 2 - epsilon).clamp(min=torch.zeros_like(p), max=a.double())
        return _better(x, a, t, lambda size: (size + epsilon).sqrt())

    return Shape(
        "l_half",
        value=lambda a: (a + epsilon).sqrt(),
        slope=lambda a: 0.5 / (a + epsilon).sqrt(),
        shrunk=shrunk,
        steepest=0.5 / math.sqrt(epsilon),
    )


def transformed_l1(epsilon: float = EPSILON) -> Shape:
    """r(a) = a·(1 + ε)/(a + ε), which goes from counting (ε → 0) to L1 (ε → ∞); its slope is at most (1 + ε)/ε.

    In y = x + ε the stationary points of the proximal objective solve y³ − (a + ε)·y² + t·ε·(1 + ε) = 0; its largest
    root is the only minimum besides x = 0.

    >>> round(transformed_l1(0.01).steepest, 6)
    101.0

    References:
        Zhang and Xin, *Minimization of transformed L1 penalty: closed form representation and iterative thresholding
        algorithms*, Communications in Mathematical Sciences 2017.
    """
    _check(epsilon)

    def value(a: Tensor) -> Tensor:
        return a * (1 + epsilon) / (a + epsilon)

    def shrunk(a: Tensor, t: Tensor) -> Tensor:
        w = a.double() + epsilon
        angle = torch.arccos((1 - 13.5 * t.double() * epsilon * (1 + epsilon) / w**3).clamp_min(-1))
        x = (w / 3 + 2 * w / 3 * torch.cos(angle / 3) - epsilon).clamp(min=torch.zeros_like(w), max=a.double())
        return _better(x, a, t, value)

    return Shape(
        "transformed_l1",
        value=value,
        slope=lambda a: epsilon * (1 + epsilon) / (a + epsilon) ** 2,
        shrunk=shrunk,
        steepest=(1 + epsilon) / epsilon,
    )


def _better(x: Tensor, a: Tensor, t: Tensor, value: Function) -> Tensor:
    """x where it costs less than zero does, else zero."""
    size, weight = a.double(), t.double()
    objective = 0.5 * (x - size) ** 2 + weight * value(x)
    at_zero = 0.5 * size**2 + weight * value(torch.zeros_like(x))
    return torch.where(objective < at_zero, x, torch.zeros_like(x)).to(a.dtype)


def _check(epsilon: float) -> None:
    if not 0 < epsilon < math.inf:
        raise TrainingError(f"epsilon is {epsilon}; it has to be above 0, since it bounds the penalty's slope.")


SHAPES: Final[Mapping[ShapeName, Callable[[float], Shape]]] = {
    "l1": lambda epsilon: L1,
    "l_half": l_half,
    "transformed_l1": transformed_l1,
}
