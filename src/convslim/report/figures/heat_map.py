"""A confusion matrix as a heat map: a row for every class, a column for every answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from markupsafe import Markup

from convslim.report.figures.chart import WIDTH
from convslim.report.markup import coordinate, element

NAMED: Final = 30
"""Classes up to which every row and column has its name."""
COUNTED: Final = 12
"""Classes up to which every cell has its number."""
LETTERS: Final = 12
"""Letters of a name that have room."""
LETTER: Final = 8.4
"""Width of a letter, also where a narrow screen has larger ones."""
FAINTEST: Final = 0.2
TOP: Final = 22.0


class HeatMap(NamedTuple):
    """Counts by (row, column), with the names of the rows; `totals` are those of the rows."""

    names: Sequence[str]
    totals: Sequence[int]
    counts: Mapping[tuple[int, int], int]


def heat_map(found: HeatMap, label: str) -> Markup:
    """The drawing: right answers on the diagonal, the darker the larger their share of the class.

    Args:
        found: What is drawn; cells without an image stay empty.
        label: What it shows, in a sentence.
    """
    size = len(found.names)
    shown = [_short(name) for name in found.names] if size <= NAMED else []
    left = 12 + LETTER * max(map(len, shown), default=0)
    cell = (WIDTH - left - 4) / size
    upright = max(map(len, shown), default=0) * LETTER < cell
    head = TOP if upright or not shown else TOP + LETTER * max(map(len, shown), default=0)
    height = head + cell * size + 6
    ground = element("rect", class_="ground", x=left, y=head, width=cell * size, height=cell * size)
    return element(
        "svg",
        element("g", ground, *_names(shown, left, head, cell, upright=upright), class_="axes", aria_hidden="true"),
        *(_cell(found, place, left, head, cell) for place in sorted(found.counts)),
        viewBox=f"0 0 {WIDTH:g} {height:.1f}",
        role="img",
        aria_label=label,
        tabindex=0,
        class_="plot heat" + (" fine" if size > COUNTED else ""),
    )


def _names(shown: Sequence[str], left: float, head: float, cell: float, *, upright: bool) -> Iterator[Markup]:
    """The names of the classes, where they have room: of columns turned, if they are wider than these."""
    for place, name in enumerate(shown):
        middle = (place + 0.5) * cell
        yield element("text", name, x=left - 6, y=head + middle + 4, class_="up")
        x, y = coordinate(left + middle), coordinate(head - 5)
        turned = None if upright else f"rotate(-90 {coordinate(left + middle + 4)} {y})"
        yield element(
            "text",
            name,
            x=x if upright else left + middle + 4,
            y=y,
            class_="across" if upright else "start",
            transform=turned,
        )


def _cell(found: HeatMap, place: tuple[int, int], left: float, head: float, side: float) -> Markup:
    row, column = place
    count, total = found.counts[place], found.totals[row]
    share = count / total if total else 0.0
    x, y, gap = left + column * side, head + row * side, min(0.6, side * 0.06)
    box = element(
        "rect",
        x=f"{x + gap:.2f}",
        y=f"{y + gap:.2f}",
        width=f"{side - 2 * gap:.2f}",
        height=f"{side - 2 * gap:.2f}",
        fill_opacity=f"{FAINTEST + (1 - FAINTEST) * share**0.5:.2f}",
    )
    taken = "right" if row == column else f"taken for {found.names[column]}"
    words = f"{found.names[row]}: {count:,} of {total:,} {taken}, {100 * share:.1f} %"
    dark = "dark" if share > 0.25 else "light"
    number = (
        element("text", f"{count:,}", x=x + side / 2, y=y + side / 2 + 4, class_=f"across {dark}")
        if len(found.names) <= COUNTED
        else None
    )
    kind = "right" if row == column else "wrong"
    return element("g", element("title", words), box, number, class_=f"mark cell {kind}")


def _short(name: str) -> str:
    return name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…"
