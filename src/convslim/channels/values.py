"""What a walk with labels knows: of a tensor its labels, of an operation what it marks, reads and multiplies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from convslim.channels.labels import Vector
from convslim.channels.tape import OpCall, TensorRef

Axes = dict[int, Vector]
PADDED = "zero-padded channels"  # the origin of positions that padding adds along the channels


@dataclass(frozen=True)
class Value:
    """What is known of a tensor.

    Attributes:
        axes: Label vector of every dimension that carries channels.
        uniform: True for constants that are equal everywhere (``zeros_like``): they fit any number of channels.
        flat: Dimensions along which one value is repeated (``expand``): they fit any number of channels, too.
        static: True if the tensor depends on parameters and constants only, not on the input.
        param: The parameter it was computed from, if static.
        origin: What positions without a label are, for messages.
    """

    axes: Axes = field(default_factory=dict)
    uniform: bool = False
    flat: frozenset[int] = frozenset()
    static: bool = False
    param: str = ""
    origin: str = "a constant"

    def fits(self, dim: int) -> bool:
        """True if the tensor has one value all along a dimension."""
        return self.uniform or dim in self.flat


@dataclass(frozen=True)
class Mark:
    """A remark on some labels, made by an operation."""

    labels: Vector
    call: OpCall | None
    text: str = ""


@dataclass(frozen=True)
class Layer:
    """One use of weights, or a product of activations (``param`` empty).

    Attributes:
        call: The operation.
        param: The parameter that the weights come from.
        positions: Multiply-accumulates for each combination of channels.
        widths: Labels along every dimension that carries channels; their sizes multiply.
    """

    call: OpCall
    param: str
    positions: int
    widths: tuple[Vector, ...]


def layer(call: OpCall, param: str, dims: Sequence[int | Vector]) -> Layer:
    """A product whose multiply-accumulates are the product of these dimensions, given by size or by labels."""
    widths = tuple(dim for dim in dims if not isinstance(dim, int) and dim.any())
    sizes = [dim if isinstance(dim, int) else 1 if dim.any() else len(dim) for dim in dims]
    return Layer(call, param, math.prod(sizes), widths)


@dataclass(frozen=True)
class View:
    """A tensor that shows a part of another one's memory."""

    base: TensorRef
    positions: Mapping[int, Vector]


def vector(axes: Axes, dim: int, size: int) -> Vector:
    """The labels along a dimension, zeros where it carries none."""
    found = axes.get(dim)
    return found if found is not None else np.zeros(size, dtype=np.int64)
