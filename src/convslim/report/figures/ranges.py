"""Ranges: one row a name, with a mark in the middle of a line from low to high."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from convslim.report.figures.axis import linear
from convslim.report.figures.chart import BOTTOM, RIGHT, WIDTH, Frame, point_at
from convslim.report.markup import coordinate, element

ROW = 40.0


class Range(NamedTuple):
    """One row: its name, the series whose look it has, three numbers, and what they say."""

    name: str
    series: int
    low: float
    middle: float
    high: float
    words: str


def ranges(rows: Sequence[Range], label: str) -> Markup:
    """The drawing; the axis begins at 0, names stand above their lines."""
    height = len(rows) * ROW + BOTTOM + 6
    floor = height - BOTTOM
    axis = linear(label, [0, *(row.high for row in rows)], zero=True)
    frame = Frame(axis, linear("", [0, 1]), height=height)
    grid = [
        part
        for value, text in axis.ticks
        for x in [_across(frame, value)]
        for part in (
            element("path", class_="grid", d=f"M{coordinate(x)} 8V{coordinate(floor)}"),
            element("text", text, x=x, y=floor + 17, class_="across"),
        )
    ]
    title = element("text", label, x=WIDTH / 2, y=height - 7, class_="label across")
    return element(
        "svg",
        element("g", *grid, title, class_="axes", aria_hidden="true"),
        *(part for place, row in enumerate(rows) for part in _row(frame, row, 6 + ROW * place)),
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        role="img",
        aria_label=f"{label}: {'; '.join(row.words for row in rows)}",
        tabindex=0,
        class_="plot",
    )


def _across(frame: Frame, value: float) -> float:
    return 14 + (frame.width - 14 - RIGHT) * frame.x.share(value)


def _row(frame: Frame, row: Range, top: float) -> list[Markup]:
    low, middle, high = (_across(frame, value) for value in (row.low, row.middle, row.high))
    y = top + 28
    path = f"M{coordinate(low)} {coordinate(y)}H{coordinate(high)}"
    return [
        element("text", row.name, x=14, y=top + 15, class_="name start"),
        element("path", class_=f"spread thick s{row.series}", d=path),
        point_at(row.series, middle, y, row.words),
    ]
