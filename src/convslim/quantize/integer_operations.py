"""The operations of an int8 file on integers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convslim.quantize.fixed_point import Integers, multiplier, scale

Array = npt.NDArray[Any]
HEADROOM = 20
"""Bits by which both sides of a sum are shifted left before they are brought to one scale."""


class Quantized(NamedTuple):
    """Integers of a grid (or of a weight, with a scale for every output channel) by the tensor's name."""

    name: str
    q: Array
    scale: Array
    zero_point: Array

    @property
    def centered(self) -> Integers:
        """``q - Z``."""
        return self.q.astype(np.int64) - int(np.asarray(self.zero_point).reshape(-1)[0])


def rounded(x: Array, step: Array, zero_point: Array) -> Array:
    """Real numbers to uint8, at the border."""
    return np.clip(np.rint(x / step) + int(zero_point), 0, 255).astype(np.uint8)


def requantized(sums: Integers, real: Array | float, behind: Quantized, axis: int | None = None) -> Array:
    """``clamp(sums · M + Z)`` as uint8, M given as a real number, or one for every index of an axis."""
    by = multiplier(np.asarray(real, dtype=np.float64))
    if axis is not None and by.mantissa.ndim:
        shape = [1] * sums.ndim
        shape[axis] = -1
        by = by._replace(mantissa=by.mantissa.reshape(shape), shift=by.shift.reshape(shape))
    return np.clip(scale(sums, by) + int(behind.zero_point), 0, 255).astype(np.uint8)


def convolution(node: Any, operands: list[Quantized], behind: Quantized | None) -> Array:
    """``Σ q_w·(q_x - Z_x) + q_b`` over windows, groups apart, requantized."""
    x, weight = operands[0].centered, operands[1].q.astype(np.int64)
    given = attributes(node)
    axes = weight.ndim - 2
    strides, dilations = (given.get(key, [1] * axes) for key in ("strides", "dilations"))
    pads, groups = given.get("pads", [0] * 2 * axes), given.get("group", 1)
    x = np.pad(x, [(0, 0), (0, 0), *((pads[axis], pads[axes + axis]) for axis in range(axes))])
    extents = [(size - 1) * step + 1 for size, step in zip(weight.shape[2:], dilations, strict=True)]
    spatial = tuple(range(2, 2 + axes))
    windows = np.lib.stride_tricks.sliding_window_view(x, extents, axis=spatial)
    steps = (*(slice(None, None, step) for step in strides), *(slice(None, None, step) for step in dilations))
    windows = windows[(slice(None), slice(None), *steps)]
    batch, places = len(x), windows.shape[2 : 2 + axes]
    split = windows.reshape(batch, groups, -1, *windows.shape[2:])
    filters = weight.reshape(groups, -1, *weight.shape[1:])
    taps = (2, *range(3 + axes, 3 + 2 * axes))
    parts = [np.tensordot(split[:, g], filters[g], ([t - 1 for t in taps], range(1, 2 + axes))) for g in range(groups)]
    sums = np.moveaxis(np.concatenate(parts, axis=-1), -1, 1).reshape(batch, -1, *places)
    if len(operands) > 2:
        sums = sums + operands[2].q.astype(np.int64).reshape(-1, *[1] * axes)
    return _given(sums, operands, behind)


def product(node: Any, operands: list[Quantized], behind: Quantized | None) -> Array:
    """The same for a matrix, which stands as ``(C_out, C_in)`` in the file."""
    sums = operands[0].centered @ operands[1].q.astype(np.int64).T
    if len(operands) > 2:
        sums = sums + operands[2].q.astype(np.int64)
    return _given(sums, operands, behind)


def _given(sums: Integers, operands: list[Quantized], behind: Quantized | None) -> Array:
    """Accumulators on the grid behind, or as real numbers where the network ends."""
    real = operands[0].scale.astype(np.float64) * operands[1].scale
    if behind is not None:
        return requantized(sums, real / float(behind.scale), behind, axis=1)
    return np.asarray(sums * real.reshape(-1, *[1] * (sums.ndim - 2)), dtype=np.float32)


def addition(node: Any, operands: list[Quantized], behind: Quantized) -> Array:
    """Both sides at twice the larger scale, with 20 bits of headroom; then to the grid behind."""
    larger = 2 * max(float(operand.scale) for operand in operands)
    sides = [
        scale(np.left_shift(operand.centered, HEADROOM), multiplier(float(operand.scale) / larger))
        for operand in operands
    ]
    return requantized(sides[0] + sides[1], larger / (2**HEADROOM * float(behind.scale)), behind)


def multiplication(node: Any, operands: list[Quantized], behind: Quantized) -> Array:
    """``(q_1 - Z_1)·(q_2 - Z_2)``, requantized."""
    real = float(operands[0].scale) * float(operands[1].scale) / float(behind.scale)
    return requantized(operands[0].centered * operands[1].centered, real, behind)


def mean(node: Any, operands: list[Quantized], behind: Quantized) -> Array:
    """The sum over height and width, requantized by ``S_x / (n · S_y)``."""
    x = operands[0].centered
    axes = tuple(range(2, x.ndim))
    keep = node.op_type == "GlobalAveragePool" or bool(attributes(node).get("keepdims", 1))
    count = float(np.prod([x.shape[axis] for axis in axes]))
    sums = x.sum(axes, keepdims=keep)
    return requantized(sums, float(operands[0].scale) / (count * float(behind.scale)), behind)


def looked_up(node: Any, operand: Quantized, behind: Quantized) -> Array:
    """A table of 256 integers, one for every integer of the operand's grid."""
    reals = (np.arange(256, dtype=np.float32) - np.float32(operand.zero_point)) * operand.scale
    (values,) = evaluated(node, [reals])
    return rounded(values, behind.scale, behind.zero_point)[operand.q]


def moved(node: Any, arguments: list[Array], zero_point: int) -> list[Array]:
    """The operation on the integers themselves; padding writes the integer of 0."""
    if node.op_type == "Pad":
        arguments = [*arguments[:2], np.array(zero_point, dtype=arguments[0].dtype), *arguments[3:]]
    kind = arguments[0].dtype
    # The evaluator pools and resizes real numbers; integers up to 255 are exact.
    real = node.op_type in ("MaxPool", "Resize", "Pad")
    given = [each.astype(np.float32) if real and each.dtype == kind else each for each in arguments]
    return [result.astype(kind) for result in evaluated(node, given)]


def evaluated(node: Any, arguments: list[Array]) -> list[Array]:
    """One node by ONNX's own reference evaluator."""
    from onnx.reference import ReferenceEvaluator

    names = [name for name in node.input if name]
    return list(ReferenceEvaluator(node).run(None, dict(zip(names, arguments, strict=False))))


def attributes(node: Any) -> dict[str, Any]:
    """A node's attributes by name."""
    import onnx

    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
