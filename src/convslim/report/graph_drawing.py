"""The channel groups of a network as SVG: boxes from top to bottom, lines where a layer reads one and makes another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import Final

from convslim.report.graph_layout import Box, Line, Point, lay_out
from convslim.report.graph_record import GraphRecord, GroupRecord, State
from convslim.report.numbers import share_text

NARROWEST: Final = 140.0
WIDEST: Final = 182.0
LETTER: Final = 6.8
CUT: Final = 9.0
TALL: Final = 3.0
"""Height by width from which a drawing is printed over several pages."""

MARKER: Final = (
    'viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" markerUnits="userSpaceOnUse" '
    'orient="auto-start-reverse"><path d="M0 0.5 8 4 0 7.5Z"/></marker>'
)
DEFINITIONS: Final = f"""<defs>
<marker id="tip" {MARKER}
<marker id="tip-near" {MARKER}
<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<rect width="6" height="6"/><path d="M0 0V6"/>
</pattern>
</defs>"""


def draw_graph(record: GraphRecord) -> str:
    """The drawing as one ``<svg>`` element; colors come from the style sheet of the page around it.

    Every group is a link with the id ``node-NUMBER`` to ``#group-NUMBER``; its width grows with the square root of its
    channels, its outline tells its state. Lines carry the numbers of their ends as ``data-from`` and ``data-to``.
    """
    most = max((group.channels for group in record.groups), default=1)
    widths = [NARROWEST + (WIDEST - NARROWEST) * (group.channels / most) ** 0.5 for group in record.groups]
    layout = lay_out(list(record.links()), widths)
    tall = ' class="tall"' if layout.height > TALL * layout.width else ""
    parts = [
        f'<svg{tall} viewBox="0 0 {layout.width:.0f} {layout.height:.0f}" '
        f'width="{layout.width:.0f}" height="{layout.height:.0f}" role="group" aria-label="Channel groups as a graph">',
        DEFINITIONS,
        '<g class="lines" aria-hidden="true">',
        *map(_line, layout.lines),
        "</g>",
        *(
            _node(number, group, box, record.macs)
            for number, (group, box) in enumerate(zip(record.groups, layout.boxes, strict=True))
        ),
        "</svg>",
    ]
    return "\n".join(parts)


def _line(line: Line) -> str:
    returns = ' class="returns"' if line.returns else ""
    return f'<path{returns} data-from="{line.source}" data-to="{line.target}" d="{_curve(line.points)}"/>'


def _curve(points: Sequence[Point]) -> str:
    """Straight where a line keeps its x, an S between ranks elsewhere."""
    (x, y), *_ = points
    steps = [f"M{_number(x)} {_number(y)}"]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = _number((y0 + y1) / 2)
        if abs(x0 - x1) < 0.5:
            if steps[-1].startswith("V"):
                steps.pop()
            steps.append(f"V{_number(y1)}")
        else:
            steps.append(f"C{_number(x0)} {middle} {_number(x1)} {middle} {_number(x1)} {_number(y1)}")
    return "".join(steps)


def _node(number: int, group: GroupRecord, box: Box, macs: int) -> str:
    left, middle = box.x - box.width / 2, _number(box.x)
    name = abbreviated(group.name, int((box.width - 8) / LETTER))
    size = f"{group.channels:,} ch · {share_text(group.macs, macs)}"
    summary = f"{group.name}: {group.channels:,} channels, {group.state}"
    return (
        f'<a class="node {group.state}" id="node-{number}" href="#group-{number}" data-number="{number}" '
        f'aria-label="{escape(summary)}"><title>{escape(summary)}</title>{_outline(group.state, left, box)}'
        f'<text class="name" x="{middle}" y="{_number(box.y + 17)}">{escape(name)}</text>'
        f'<text x="{middle}" y="{_number(box.y + 31)}">{size}</text></a>'
    )


def _outline(state: State, left: float, box: Box) -> str:
    """Round for prunable groups, with cut corners for approximate ones, square for pinned ones."""
    if state != "approximate":
        return (
            f'<rect class="box" x="{_number(left)}" y="{_number(box.y)}" width="{_number(box.width)}" '
            f'height="{_number(box.height)}" rx="{0 if state == "pinned" else 9}"/>'
        )
    right, bottom = left + box.width, box.y + box.height
    corners = [
        (left + CUT, box.y),
        (right - CUT, box.y),
        (right, box.y + CUT),
        (right, bottom - CUT),
        (right - CUT, bottom),
        (left + CUT, bottom),
        (left, bottom - CUT),
        (left, box.y + CUT),
    ]
    return f'<polygon class="box" points="{" ".join(f"{_number(x)},{_number(y)}" for x, y in corners)}"/>'


def abbreviated(name: str, most: int) -> str:
    """A dotted name of at most ``most`` letters: leading parts shrink to a letter and what begins with a digit.

    >>> abbreviated("features.denseblock1.denselayer12.conv1", 20), abbreviated("conv1", 20)
    ('f.d1.d12.conv1', 'conv1')
    >>> abbreviated("features.denseblock1.denselayer12.conv1", 30)
    'f.d1.denselayer12.conv1'
    >>> abbreviated("Mixed_5b.branch3x3dbl_1.conv", 18)
    'M5b.b3x3dbl_1.conv'
    """
    parts = name.split(".")
    for place, part in enumerate(parts[:-1]):
        if len(".".join(parts)) <= most:
            break
        parts[place] = part[:1] + re.sub(r"^\D*", "", part[1:])
    short = ".".join(parts)
    return short if len(short) <= most else "…" + short[len(short) - most + 1 :]


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
