"""A chart: a frame of two axes, marks with what they say in words, and the same numbers as a table below.

Colors come from the style sheet by the class of a series, ``s0`` … ``s11``; shapes and dashes tell series apart without
colors, and from the seventh on marks are hollow. Marks of class ``mark`` hold a ``<title>``: the tooltip of browsers
without scripts, and what the page's script shows and reads out when a mark is pointed at or reached by the arrow keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from convslim.report.figures.axis import Axis
from convslim.report.markup import coordinate, element, joined, scrolled, table

WIDTH: Final = 460.0
HEIGHT: Final = 250.0
LEFT: Final = 58.0
RIGHT: Final = 26.0
TOP: Final = 14.0
BOTTOM: Final = 44.0
SERIES: Final = 12
"""How many series look different."""
RADIUS: Final = 4.2
CORNERS: Final[dict[int, tuple[tuple[float, float], ...]]] = {
    1: ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    2: ((0, -1.25), (1.15, 0.85), (-1.15, 0.85)),
    3: ((0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)),
}
"""Square, triangle, diamond, in units of the radius."""


@dataclass(frozen=True)
class Frame:
    """Two axes and the rectangle between them."""

    x: Axis
    y: Axis
    width: float = WIDTH
    height: float = HEIGHT

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a pair of numbers is drawn."""
        across = LEFT + (self.width - LEFT - RIGHT) * self.x.share(x)
        down = TOP + (self.height - TOP - BOTTOM) * (1 - self.y.share(y))
        return across, down

    @property
    def floor(self) -> float:
        """The lower edge."""
        return self.height - BOTTOM

    def draw(self, *marks: Markup | None, label: str, under: Iterable[Markup] = ()) -> Markup:
        """The whole drawing; `under` lies behind the grid, `label` says in a sentence what it shows."""
        return element(
            "svg",
            joined(under),
            element("g", *self._across(), *self._up(), class_="axes", aria_hidden="true"),
            *marks,
            viewBox=f"0 0 {coordinate(self.width)} {coordinate(self.height)}",
            role="img",
            aria_label=label,
            tabindex=0,
            class_="plot",
        )

    def _across(self) -> Iterable[Markup]:
        for value, text in self.x.ticks:
            x = self.at(value, self.y.low)[0]
            yield element("path", class_="tick", d=f"M{coordinate(x)} {coordinate(self.floor)}v4")
            yield element("text", text, x=x, y=self.floor + 17, class_="across")
        middle = (LEFT + self.width - RIGHT) / 2
        yield element("text", self.x.label, x=middle, y=self.height - 7, class_="label across")

    def _up(self) -> Iterable[Markup]:
        for value, text in self.y.ticks:
            y = self.at(self.x.low, value)[1]
            yield element("path", class_="grid", d=f"M{LEFT:g} {coordinate(y)}H{coordinate(self.width - RIGHT)}")
            yield element("text", text, x=LEFT - 6, y=y + 4, class_="up")


def line(frame: Frame, series: int, points: Sequence[tuple[float, float]]) -> Markup | None:
    """A line through points, in the order given; one point alone has none."""
    if len(points) < 2:
        return None
    places = (frame.at(*point) for point in points)
    steps = "L".join(f"{coordinate(x)} {coordinate(y)}" for x, y in places)
    return element("path", class_=f"line s{series % SERIES}", d=f"M{steps}")


def point(frame: Frame, series: int, x: float, y: float, words: str, *, kind: str = "") -> Markup:
    """A mark at a pair of numbers; its shape is that of its series."""
    return point_at(series, *frame.at(x, y), words, kind=kind)


def point_at(series: int, across: float, down: float, words: str, *, kind: str = "") -> Markup:
    """A mark at a place of the drawing."""
    classes = " ".join(filter(None, ("mark", "point", f"s{series % SERIES}", kind)))
    return element("g", element("title", words), _shape(series, across, down), class_=classes)


def tag(across: float, down: float, words: str) -> Markup:
    """A short text over a place of the drawing."""
    return element("text", words, x=across, y=down, class_="tag across")


def dot(frame: Frame, series: int, x: float, y: float, words: str) -> Markup:
    """A mark for one of many points, seen only when it is pointed at."""
    across, down = frame.at(x, y)
    shape = element("circle", cx=across, cy=down, r=RADIUS)
    return element("g", element("title", words), shape, class_=f"mark dot s{series % SERIES}")


def _shape(series: int, x: float, y: float) -> Markup:
    """Circle, square, triangle, diamond, in turn."""
    if series % 4 == 0:
        return element("circle", cx=x, cy=y, r=RADIUS)
    corners = CORNERS[series % 4]
    places = " ".join(f"{coordinate(x + RADIUS * a)},{coordinate(y + RADIUS * b)}" for a, b in corners)
    return element("polygon", points=places)


def spread(frame: Frame, series: int, x: float, low: float, high: float) -> Markup:
    """A vertical line from low to high: how sure a number is."""
    (across, bottom), (_, top) = frame.at(x, low), frame.at(x, high)
    path = f"M{coordinate(across)} {coordinate(bottom)}V{coordinate(top)}"
    return element("path", class_=f"spread s{series % SERIES}", d=path)


def column(frame: Frame, series: int, ends: tuple[float, float], low: float, high: float, words: str) -> Markup:
    """A bar of a histogram, over the numbers between `ends`."""
    (left, bottom), (right, top) = frame.at(ends[0], low), frame.at(ends[1], high)
    box = element("rect", x=left, y=top, width=max(right - left - 0.6, 0.4), height=bottom - top)
    return element("g", element("title", words), box, class_=f"mark column s{series % SERIES}")


def band(frame: Frame, low: float, high: float) -> Markup:
    """A darker ground over the numbers from low to high."""
    (left, floor), (right, top) = frame.at(low, frame.y.low), frame.at(high, frame.y.high)
    return element("rect", class_="band", x=left, y=top, width=right - left, height=floor - top)


def threshold(frame: Frame, x: float, words: str) -> Markup:
    """A vertical line over the whole height, with its name."""
    across = frame.at(x, frame.y.low)[0]
    end = across > frame.width * 0.6
    return element(
        "g",
        element("path", d=f"M{coordinate(across)} {TOP:g}V{coordinate(frame.floor)}"),
        element("text", words, x=across + (-5 if end else 5), y=TOP + 10, class_="end" if end else "start"),
        class_="threshold",
    )


def legend(names: Sequence[str]) -> Markup:
    """Names of series, each beside its look."""
    items = [
        element("li", element("svg", _shape(place, 7, 7), class_=f"key s{place % SERIES}", aria_hidden="true"), name)
        for place, name in enumerate(names)
    ]
    return element("ul", *items, class_="legend")


def figure(
    title: str,
    drawing: Markup,
    *,
    names: Sequence[str] = (),
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    note: str | None = None,
) -> Markup:
    """A drawing with its title, its legend, and its numbers as a table that can be opened."""
    numbers = element(
        "details",
        element("summary", "Numbers"),
        scrolled(table(headings, rows), f"{title}: numbers"),
        class_="numbers",
    )
    caption = element("figcaption", element("b", title), element("span", note) if note else None)
    return element("figure", caption, legend(names) if names else None, drawing, numbers, class_="chart")
