"""The channel groups of a network as a table for the terminal, with the reasons as numbered notes below it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from convslim.report import GraphRecord, counted, share_text
from convslim.report.graph_reasons import Kind, Place, Reason, reasons

WORDS: Final[dict[Kind, str]] = {"pins": "pinned", "approximations": "approximate", "constraints": "bound"}
WIDE: Final = 120
"""Columns of a terminal from which there is room for the names of layers; below, they are counted."""
SHOWN: Final = 3


def groups_table(record: GraphRecord, pinned: bool, width: int) -> tuple[Table, list[str]]:
    """All groups, or only the pinned ones, and why they are pinned, approximate or bound.

    Args:
        record: What is known of the network.
        pinned: Leave out the groups that can be pruned.
        width: Columns of the terminal.

    Returns:
        The table, and the lines of the notes that it refers to.
    """
    kinds: Sequence[Kind] = ("pins",) if pinned else ("pins", "approximations", "constraints")
    found = [(kind, reason) for kind in kinds for reason in reasons(record, kind)]
    named = width >= WIDE
    table = Table(title=f"{record.model}: channel groups", title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("group", overflow="fold")
    table.add_column("channels", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("why", no_wrap=True)
    table.add_column("MACs", justify="right", no_wrap=True)
    for heading in ("made by", "read by"):
        table.add_column(heading, justify="left" if named else "right", overflow="fold")
    for number, group in enumerate(record.groups):
        if pinned and group.prunable:
            continue
        marks = [f"[{mark}]" for mark, (_, reason) in enumerate(found, start=1) if number in reason.groups]
        cells = [
            group.name,
            f"{group.channels:,}",
            group.state,
            " ".join(marks) or "–",
            share_text(group.macs, record.macs),
            *(_brief(names) if named else f"{len(names)}" for names in (group.producers, group.consumers)),
        ]
        table.add_row(*map(Text, cells))
    notes = (line for mark, (kind, reason) in enumerate(found, start=1) for line in _note(mark, kind, reason))
    return table, list(notes)


def _note(mark: int, kind: Kind, reason: Reason) -> Iterator[str]:
    extent = f"{counted(len(reason.groups), 'group')}, {counted(reason.channels, 'channel')}"
    yield f"[{mark}] {WORDS[kind]}: {reason.text} ({extent})"
    yield from (f"    {where}" for where in map(_where, reason.places) if where)


def _where(place: Place) -> str:
    modules = f"in {_brief(place.modules)}" if place.modules else ""
    return ", ".join(filter(None, (place.source, place.operation, modules)))


def _brief(names: Sequence[str]) -> str:
    """The first few names, and how many more there are.

    >>> _brief(["a", "b", "c", "d", "e"]), _brief(["a"]), _brief([])
    ('a, b, c and 2 more', 'a', '–')
    """
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(name or "(the model itself)" for name in names[:SHOWN]) + more) or "–"
