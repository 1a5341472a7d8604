"""The top of the page: how big the network is, how much of it can go, in which way, and what to know."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from convslim.report.graph_record import GraphRecord
from convslim.report.numbers import magnitude, share_text

WAYS: Final = {"class": "keeps its class", "graph": "is a graph module"}
"""What becomes of a model, by the way in which plans are carried out."""


def headline(record: GraphRecord) -> str:
    """Cards and notes, as HTML."""
    cards = "\n".join(
        f"<div><dt>{title}</dt><dd><strong>{value}</strong><span>{note}</span></dd></div>"
        for title, value, note in _cards(record)
    )
    return f'<dl class="cards">\n{cards}\n</dl>\n{_groups_bar(record)}\n{_way(record)}\n{_notes(record)}'


def _cards(record: GraphRecord) -> Iterator[tuple[str, str, str]]:
    free, channels = record.channels("prunable", "approximate"), record.channels()
    yield "MACs", magnitude(record.macs), f"{record.macs:,} for one input"
    yield "Parameters", magnitude(record.params), f"{record.params:,}"
    yield "Channels that can be pruned", share_text(free, channels), f"{free:,} of {channels:,}"
    yield (
        "MACs that depend on them",
        share_text(record.macs_prunable, record.macs),
        f"{magnitude(record.macs_prunable)} of {magnitude(record.macs)}",
    )


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


def _way(record: GraphRecord) -> str:
    return f"<p>A pruned model <b>{WAYS[record.way]}</b>: {escape(record.way_reason.rstrip('.'))}.</p>"


def _notes(record: GraphRecord) -> str:
    notes = [escape(note) for note in record.notes]
    notes += [f"The example input does not reach the parameter <code>{escape(name)}</code>." for name in record.unused]
    items = "".join(f"<li>{note}</li>" for note in notes)
    return f'<ul class="notes" aria-label="Notes">{items}</ul>' if notes else ""
