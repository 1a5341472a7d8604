"""The top of the page: how big the network is, how much of it can go, in which way, and what to know."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from convslim.report.graph_drawing import share_text
from convslim.report.graph_record import GraphRecord

WAYS: Final = {"class": "keeps its class", "graph": "is a graph module"}
"""What becomes of a model, by the way in which plans are carried out."""


def headline(record: GraphRecord) -> str:
    """Cards and notes, as HTML."""
    cards = "\n".join(
        f"<div><dt>{title}</dt><dd><strong>{value}</strong><span>{note}</span></dd></div>"
        for title, value, note in _cards(record)
    )
    return f'<dl class="cards">\n{cards}\n</dl>\n{_groups_bar(record)}\n{_notes(record)}'


def _cards(record: GraphRecord) -> Iterator[tuple[str, str, str]]:
    free, channels = record.channels("prunable", "approximate"), record.channels()
    yield "MACs", magnitude(record.macs), f"{record.macs:,} for one input"
    yield "Parameters", magnitude(record.params), f"{record.params:,}"
    yield "Channels that can be pruned", _share(free, channels), f"{free:,} of {channels:,}"
    yield (
        "MACs that depend on them",
        _share(record.macs_prunable, record.macs),
        f"{magnitude(record.macs_prunable)} of {magnitude(record.macs)}",
    )
    yield "A pruned model", WAYS[record.way], f"because {escape(record.way_reason)}"


def _groups_bar(record: GraphRecord) -> str:
    """Channels by state as one bar, and groups by state in words."""
    counts = {
        state: [group.channels for group in record.groups if group.state == state]
        for state in ("prunable", "approximate", "pinned")
    }
    words = {"prunable": "exactly prunable", "approximate": "approximately prunable", "pinned": "pinned"}
    parts = "".join(
        f'<span class="{state}" style="flex-grow:{sum(found)}"></span>' for state, found in counts.items() if found
    )
    text = ", ".join(f"<b>{len(found):,}</b> {words[state]}" for state, found in counts.items())
    return f'<div class="split" aria-hidden="true">{parts}</div>\n<p>{len(record.groups):,} groups: {text}</p>'


def _notes(record: GraphRecord) -> str:
    notes = [escape(note) for note in record.notes]
    notes += [f"The example input does not reach the parameter <code>{escape(name)}</code>." for name in record.unused]
    items = "".join(f"<li>{note}</li>" for note in notes)
    return f'<ul class="notes" aria-label="Notes">{items}</ul>' if notes else ""


def _share(part: int, whole: int) -> str:
    return share_text(part, whole) if whole else "–"


def magnitude(count: int) -> str:
    """A large number in short.

    >>> magnitude(4_089_184_256), magnitude(853_018), magnitude(96)
    ('4.09 G', '853 k', '96')
    """
    for factor, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= factor:
            value = count / factor
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {letter}"
    return str(count)
