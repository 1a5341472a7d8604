"""Intervals below each other: one row a name, with a mark on a line from low to high; changes stand around zero."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup

from convslim.report.figures.axis import Axis, linear, number
from convslim.report.figures.chart import BOTTOM, RIGHT, WIDTH, Frame, point_at
from convslim.report.figures.ranges import Range
from convslim.report.markup import coordinate, element

ROW = 23.0
LETTERS = 14


def changes(rows: Sequence[Range], label: str) -> Markup:
    """Changes of classes, the largest loss first; zero is a line of its own."""
    axis = linear(label, [0, *(end for row in rows for end in (row.low, row.high))], form=_signed, wanted=4)
    return intervals(rows, axis, f"{label} of {len(rows)} classes, the largest loss first", zero=True)


def intervals(rows: Sequence[Range], axis: Axis, words: str, *, zero: bool = False) -> Markup:
    """The drawing, which `words` tell; names stand left of their lines, and `zero` draws a line there."""
    left = 18 + 9.2 * min(max(len(row.name) for row in rows), LETTERS)
    height = len(rows) * ROW + BOTTOM + 6
    floor = height - BOTTOM
    frame = Frame(axis, linear("", [0, 1]), height=height)

    def across(value: float) -> float:
        return left + (frame.width - left - RIGHT) * frame.x.share(value)

    grid = [
        part
        for value, text in axis.ticks
        for x in [across(value)]
        for part in (
            element("path", class_="grid", d=f"M{coordinate(x)} 6V{coordinate(floor)}"),
            element("text", text, x=x, y=floor + 17, class_="across"),
        )
    ]
    middle = element("path", class_="tick", d=f"M{coordinate(across(0))} 6V{coordinate(floor)}") if zero else None
    title = element("text", axis.label, x=(left + WIDTH - RIGHT) / 2, y=height - 7, class_="label across")
    marks = [part for place, row in enumerate(rows) for part in _row(row, across, 6 + ROW * (place + 0.5), left - 8)]
    return element(
        "svg",
        element("g", *grid, middle, title, class_="axes", aria_hidden="true"),
        *marks,
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        role="img",
        aria_label=words,
        tabindex=0,
        class_="plot",
    )


def _row(row: Range, across: Callable[[float], float], y: float, end: float) -> list[Markup]:
    """A name that ends at `end`, its line, and the mark on it."""
    low, middle, high = (across(value) for value in (row.low, row.middle, row.high))
    path = f"M{coordinate(low)} {coordinate(y)}H{coordinate(high)}"
    short = row.name if len(row.name) <= LETTERS else f"{row.name[: LETTERS - 1]}…"
    return [
        element("text", short, x=end, y=y + 4, class_="name end"),
        element("path", class_=f"spread thick s{row.series}", d=path),
        point_at(row.series, middle, y, row.words),
    ]


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)
