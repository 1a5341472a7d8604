"""Axes: a range of numbers, where it is drawn, and the ticks that people read it by."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Format = Callable[[float], str]


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        label: What it measures, with its unit.
        low, high: Its range.
        ticks: Numbers with their texts, within the range.
        logarithmic: Whether equal distances are equal ratios.
    """

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """Where a number stands: 0 at the low end, 1 at the high one.

        >>> Axis("s", 0, 4, ()).share(1), Axis("s", 1, 100, (), logarithmic=True).share(10)
        (0.25, 0.5)
        """
        low, high = (math.log(end) if self.logarithmic else end for end in (self.low, self.high))
        place = math.log(max(value, self.low)) if self.logarithmic else value
        return (place - low) / (high - low)


def number(value: float) -> str:
    """A tick in short.

    >>> number(0.25), number(12000), number(3.0), number(1e-7), number(-0.5)
    ('0.25', '12,000', '3', '1e-07', '−0.5')
    """
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return text.replace("-", "−", 1) if value < 0 else text


def percent(value: float) -> str:
    """A share as a tick.

    >>> percent(0.925), percent(1)
    ('92.5 %', '100 %')
    """
    return f"{100 * value:.4g} %"


def linear(
    label: str,
    values: Iterable[float],
    *,
    form: Format = number,
    within: tuple[float, float] = (-math.inf, math.inf),
    zero: bool = False,
    tight: bool = False,
    wanted: int = 5,
) -> Axis:
    """An axis around all finite numbers, whose ends are ticks.

    Args:
        label: What it measures.
        values: What has to find a place on it.
        form: How a tick is written.
        within: Bounds that numbers cannot cross; the axis does not either.
        zero: Begin at 0.
        tight: End at the largest number, not at the tick behind it.
        wanted: About how many ticks.

    >>> axis = linear("accuracy", [0.31, 0.97], form=percent, within=(0, 1))
    >>> (axis.low, axis.high), [text for _, text in axis.ticks]
    ((0.2, 1.0), ['20 %', '40 %', '60 %', '80 %', '100 %'])
    """
    found = [value for value in values if math.isfinite(value)]
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    low = min(low, 0.0) if zero else low
    if low == high:
        margin = abs(low) * 0.05 or 0.5
        low, high = max(low - (0 if zero else margin), within[0]), min(high + margin, within[1])
    step = _step((high - low) / wanted)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [round(place * step, 12) for place in range(first, last + 1)]
    ticks = [tick for tick in ticks if within[0] - 1e-12 <= tick <= within[1] + 1e-12]
    ends = max(first * step, within[0]), high if tight else min(last * step, within[1])
    ticks = [tick for tick in ticks if tick <= ends[1] + 1e-12]
    return Axis(label, round(ends[0], 12), round(ends[1], 12), tuple((tick, form(tick)) for tick in ticks))


def logarithmic(label: str, values: Iterable[float], *, form: Format = number) -> Axis:
    """An axis of ratios around all positive numbers, with ticks at 1, 2 and 5 of every power of ten.

    >>> [text for _, text in logarithmic("ms", [0.3, 4]).ticks]
    ['0.2', '0.5', '1', '2', '5']
    """
    found = [value for value in values if math.isfinite(value) and value > 0] or [1.0]
    steps = [factor * 10.0**power for power in range(-12, 13) for factor in (1, 2, 5)]
    low = max((step for step in steps if step <= min(found)), default=steps[0])
    high = min((step for step in steps if step >= max(found) and step > low), default=steps[-1])
    ticks = [step for step in steps if low <= step <= high]
    if len(ticks) > 7:
        ticks = [step for step in ticks if f"{step:e}"[0] == "1"]
    return Axis(label, low, high, tuple((tick, form(float(f"{tick:.3g}"))) for tick in ticks), logarithmic=True)


def counting(label: str, last: int) -> Axis:
    """An axis of the numbers 1 … last, such as epochs.

    >>> [text for _, text in counting("epoch", 30).ticks]
    ['1', '10', '20', '30']
    """
    step = max(1, round(_step(last / 5)))
    ticks = [1, *(tick for tick in range(step, last + 1, step) if tick > 1)]
    if len(ticks) > 1 and ticks[1] - ticks[0] < step / 2:
        ticks = ticks[1:]
    low, high = (0.5, 1.5) if last == 1 else (1.0, float(last))
    return Axis(label, low, high, tuple((float(tick), f"{tick:,}") for tick in ticks))


def _step(least: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is not below."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least * (1 - 1e-9))
