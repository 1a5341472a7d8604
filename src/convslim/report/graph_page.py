"""One offline HTML page that shows a channel graph to people: headline, drawing, reasons, and a table of all groups.

The page is made of nothing but the record. It asks for nothing over the network, and its own policy forbids it to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Final

from convslim.report.graph_drawing import draw_graph
from convslim.report.graph_headline import headline
from convslim.report.graph_reasons import Kind, Place, Reason, reasons
from convslim.report.graph_record import GraphRecord, GroupRecord, State
from convslim.report.numbers import counted, share_text

STATES: Final[dict[State, str]] = {
    "prunable": "removed channels leave the others as they are",
    "approximate": "removed channels change the others a little",
    "pinned": "no channel may go",
}
KINDS: Final[dict[Kind, tuple[str, str]]] = {
    "pins": ("Pinned", "These channels stay. What to do about each reason is in docs/inspect.md."),
    "approximations": (
        "Approximate",
        "These channels can go, but a normalization or a softmax runs over them: what stays changes a little.",
    ),
    "constraints": ("Bound", "These channels can go, in larger steps. One channel of the group stands for several."),
}
SHOWN: Final = 3


def graph_page(record: GraphRecord) -> str:
    """The page as HTML text. Every name and sentence of the record is escaped.

    >>> record = GraphRecord(
    ...     model="<small>", structure="", way="class", way_reason="", macs=0, macs_prunable=0, params=0,
    ...     groups=(), layers=(),
    ... )
    >>> "<h1>&lt;small&gt;</h1>" in graph_page(record), "<small>" in graph_page(record)
    (True, False)
    """
    return Template(_asset("graph_page.html")).substitute(
        model=escape(record.model),
        style=_asset("page.css") + _asset("graph_page.css"),
        script=_asset("graph_page.js"),
        headline=headline(record),
        legend=_legend(record),
        drawing=draw_graph(record),
        reasons=_reasons(record),
        table=_table(record),
        # Inside <script>, only "<" could end the data early.
        record=record.model_dump_json().replace("<", "\\u003c"),
        structure=escape(record.structure[:12]),
    )


def _asset(name: str) -> str:
    return files("convslim.report").joinpath(name).read_text(encoding="utf-8")


def _legend(record: GraphRecord) -> str:
    """One switch a state that occurs, with the look of its boxes."""
    switches = []
    for state, meaning in STATES.items():
        count = sum(group.state == state for group in record.groups)
        if count:
            switches.append(
                f'<label title="{meaning}"><input type="checkbox" data-state="{state}" checked>'
                f'<span class="swatch {state}"></span>{state} <b>{count:,}</b></label>'
            )
    return f'<div class="legend" role="group" aria-label="States shown">{"".join(switches)}</div>'


def _reasons(record: GraphRecord) -> str:
    blocks = []
    for kind, (title, meaning) in KINDS.items():
        found = reasons(record, kind)
        if found:
            items = "\n".join(_reason(reason, record) for reason in found)
            blocks.append(f'<h3>{title}</h3>\n<p class="lead">{meaning}</p>\n<ul class="reasons">\n{items}\n</ul>')
    return "\n".join(blocks) or "<p>Nothing pins or binds any channel of this network.</p>"


def _reason(reason: Reason, record: GraphRecord) -> str:
    count = f"{counted(len(reason.groups), 'group')}, {counted(reason.channels, 'channel')}"
    places = "\n".join(_place(place, record) for place in reason.places)
    return f'<li><p><b>{escape(reason.text)}</b> <span class="count">{count}</span></p>\n<ul>\n{places}\n</ul></li>'


def _place(place: Place, record: GraphRecord) -> str:
    line, operation = _source(place.source), _code(place.operation)
    modules = f"in {_folded([*map(_code, place.modules)])}" if place.modules else ""
    groups = _folded([_link(number, record.groups[number]) for number in place.groups])
    where = " ".join(filter(None, (line, operation, modules)))
    return f"<li>{f'<div>{where}</div>' if where else ''}<div>{groups}</div></li>"


def _link(number: int, group: GroupRecord) -> str:
    return f'<a href="#node-{number}">{_breakable(group.name)}</a>'


def _code(name: str) -> str:
    return f"<code>{_breakable(name)}</code>" if name else ""


def _source(line: str) -> str:
    return f'<code class="source">{escape(line)}</code>' if line else ""


def _breakable(name: str) -> str:
    """A dotted name that may break behind its dots."""
    return escape(name).replace(".", ".<wbr>")


def _folded(items: Sequence[str]) -> str:
    """The first few items, and the others behind a switch."""
    shown, hidden = items[:SHOWN], items[SHOWN:]
    text = ", ".join(shown)
    if len(hidden) < 2:
        return ", ".join(items)
    return f"{text} <details><summary>and {len(hidden)} more</summary>{', '.join(hidden)}</details>"


def _table(record: GraphRecord) -> str:
    headings = (
        ("group", ""),
        ("channels", "number"),
        ("state", ""),
        ("MACs", "number"),
        ("parameters", "number"),
        ("made by", ""),
        ("read by", ""),
        ("why", ""),
    )
    head = "".join(
        f'<th scope="col" class="{kind}"><button type="button">{text}</button></th>' for text, kind in headings
    )
    rows = "\n".join(_row(number, group, record) for number, group in enumerate(record.groups))
    return (
        "<table>\n<caption>Channel groups, in the order of the forward pass</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
    )


def _row(number: int, group: GroupRecord, record: GraphRecord) -> str:
    cells = [
        f'<th scope="row">{_link(number, group)}</th>',
        f'<td class="number" data-value="{group.channels}">{group.channels:,}</td>',
        f'<td><span class="state {group.state}">{group.state}</span></td>',
        _share(group.macs, record.macs),
        _share(group.params, record.params),
        f"<td>{_names(group.producers)}</td>",
        f"<td>{_names(group.consumers)}</td>",
        f"<td>{_why(group)}</td>",
    ]
    return f'<tr id="group-{number}" data-number="{number}" data-state="{group.state}">{"".join(cells)}</tr>'


def _share(part: int, whole: int) -> str:
    share = part / whole if whole else 0.0
    return (
        f'<td class="number" data-value="{part}" title="{part:,}"><span class="bar" style="--share:{share:.4f}">'
        f"{share_text(part, whole)}</span></td>"
    )


def _names(names: Iterable[str]) -> str:
    return _folded([_code(name or "(the model itself)") for name in names]) or "–"


def _why(group: GroupRecord) -> str:
    """Each reason once, with its lines of code."""
    lines: dict[str, dict[str, None]] = {}
    for place in (*group.pins, *group.approximations):
        lines.setdefault(place.reason, {})[_source(place.source)] = None
    sentences = [f"{escape(reason)} {', '.join(found)}".rstrip() for reason, found in lines.items()]
    return "<br>".join([*sentences, *map(escape, group.constraints)]) or "–"
