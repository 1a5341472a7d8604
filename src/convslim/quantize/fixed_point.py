"""Multiplying integers by real numbers with integers only, as processors without floating point do it.

A positive real multiplier is ``M = 2^-s · M0`` with M0 in [½, 1), kept as the int32 ``round(M0 · 2³¹)`` (Q31). All
functions take int64 arrays whose values fit int32, and so do their results.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


class Multiplier(NamedTuple):
    """``2^-shift · mantissa / 2³¹``; both are integers, or arrays with one entry for every channel."""

    mantissa: Integers
    shift: Integers


def multiplier(real: npt.NDArray[np.float64] | float) -> Multiplier:
    """The Q31 form of positive numbers.

    >>> multiplier(0.25)
    Multiplier(mantissa=array(1073741824), shift=array(1))
    """
    fraction, exponent = np.frexp(np.asarray(real, dtype=np.float64))
    mantissa = np.rint(fraction * 2.0**31).astype(np.int64)
    carried = mantissa == 2**31
    return Multiplier(np.where(carried, 2**30, mantissa), np.where(carried, -exponent - 1, -exponent).astype(np.int64))


def high_multiply(a: Integers, b: Integers) -> Integers:
    """``a·b / 2³¹`` rounded to nearest, ties away from zero: the rounding-doubling high half of a product of int32.

    >>> high_multiply(np.array([3, -3]), np.array(2**30))
    array([ 2, -2])
    """
    product = np.asarray(a, dtype=np.int64) * b
    nudged = np.abs(product) + 2**30
    return np.sign(product) * (nudged >> 31)


def shift_right(a: Integers, shift: Integers) -> Integers:
    """``a / 2^shift`` rounded to nearest, ties away from zero; shift ≥ 0.

    >>> shift_right(np.array([5, -5, 6]), np.array(1))
    array([ 3, -3,  3])
    """
    half = np.where(shift > 0, np.left_shift(np.int64(1), np.maximum(shift, 1) - 1), 0)
    return np.sign(a) * np.right_shift(np.abs(a) + half, np.minimum(shift, 62))


def scale(a: Integers, by: Multiplier) -> Integers:
    """``a · M`` rounded: a left shift where M ≥ 1, the high half of a product, a right shift.

    >>> scale(np.array([100, -7]), multiplier(0.3))
    array([30, -2])
    >>> int(scale(np.array(10**6), multiplier(12.3456)))
    12345600
    """
    left = np.left_shift(np.asarray(a, dtype=np.int64), np.maximum(-by.shift, 0))
    return shift_right(high_multiply(left, by.mantissa), np.maximum(by.shift, 0))
