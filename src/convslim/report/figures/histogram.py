"""Histograms: counts between edges, one series on the other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from markupsafe import Markup

from convslim.report.figures.axis import Axis, linear, logarithmic, number
from convslim.report.figures.chart import Frame, column, figure, threshold
from convslim.report.markup import joined


def histogram(
    title: str,
    label: str,
    edges: Sequence[float],
    counts: Mapping[str, Sequence[int]],
    *,
    mark: tuple[float, str] | None = None,
    unit: str = "channels",
    note: str | None = None,
) -> Markup:
    """A figure.

    Args:
        title, note: What it shows.
        label: What the numbers along the axis are.
        edges: n + 1 increasing numbers; where their ratios are equal the axis is of ratios.
        counts: By name, n counts; names stand on each other in the order given.
        mark: A number along the axis, and what it is.
        unit: What is counted.
    """
    shown = [end for end in edges if math.isfinite(end)]
    frame = Frame(_axis(label, shown), linear(unit, [0, *map(sum, zip(*counts.values(), strict=True))], zero=True))
    marks: list[Markup | None] = []
    heights = [0.0] * (len(edges) - 1)
    for series, (name, numbers) in enumerate(counts.items()):
        for place, count in enumerate(numbers):
            if count:
                ends = edges[place], edges[place + 1]
                words = f"{number(ends[0])} to {number(ends[1])}: {count:,} {unit} {name}"
                marks.append(column(frame, series, ends, heights[place], heights[place] + count, words))
                heights[place] += count
    if mark is not None and frame.x.low <= mark[0] <= frame.x.high:
        marks.append(threshold(frame, mark[0], mark[1]))
    total = sum(map(sum, counts.values()))
    return figure(
        title,
        frame.draw(joined(marks), label=f"Histogram of {total:,} {unit} by {label}"),
        names=list(counts) if len(counts) > 1 else (),
        headings=["from", "to", *counts],
        rows=[
            (number(low), number(high), *(f"{numbers[place]:,}" for numbers in counts.values()))
            for place, (low, high) in enumerate(pairwise(edges))
        ],
        note=note,
    )


def binned(values: Iterable[float], *, bins: int = 40) -> tuple[list[float], list[int]]:
    """Edges of equal distance, and how many values lie between them.

    >>> binned([0.0, 0.1, 1.0], bins=2)
    ([0.0, 0.5, 1.0], [2, 1])
    """
    found = [value for value in values if math.isfinite(value)]
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    width = (high - low) / bins or 1.0 / bins
    counts = [0] * bins
    for value in found:
        counts[min(int((value - low) / width), bins - 1)] += 1
    return [low + place * width for place in range(bins + 1)], counts


def _axis(label: str, edges: Sequence[float]) -> Axis:
    """An axis of ratios where the edges are: the middle one is then the mean of the ends' logarithms."""
    if edges[0] > 0 and len(edges) > 2:
        middle = edges[len(edges) // 2]
        share = math.log(middle / edges[0]) / math.log(edges[-1] / edges[0])
        if abs(share - (len(edges) // 2) / (len(edges) - 1)) < 1e-3:
            return logarithmic(label, edges)
    return linear(label, edges, tight=True)
