"""Why groups are pinned, approximate or bound, collected over the network: one entry a reason, with all its places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from convslim.report.graph_record import GraphRecord, GroupRecord, PlaceRecord

Kind = Literal["pins", "approximations", "constraints"]


@dataclass(frozen=True)
class Place:
    """One line of the user's code or one operation, the modules that run it, and the groups (numbers) concerned."""

    source: str
    operation: str
    modules: tuple[str, ...]
    groups: tuple[int, ...]


@dataclass(frozen=True)
class Reason:
    """One reason, its places, and the groups (numbers) and channels that it concerns."""

    text: str
    places: tuple[Place, ...]
    groups: tuple[int, ...]
    channels: int


def reasons(record: GraphRecord, kind: Kind) -> tuple[Reason, ...]:
    """All reasons of a kind, those of most channels first.

    >>> record = GraphRecord.model_validate({
    ...     "model": "m", "structure": "", "way": "class", "way_reason": "", "macs": 0, "macs_prunable": 0,
    ...     "params": 0, "layers": (),
    ...     "groups": [
    ...         {"name": name, "channels": 8, "prunable": False, "exact": True, "macs": 0, "params": 0,
    ...          "producers": [name], "consumers": [], "pins": [{"reason": "fixed", "source": "net.py:3"}]}
    ...         for name in ("a", "b")
    ...     ],
    ... })
    >>> [(reason.text, reason.channels, reason.places[0].source) for reason in reasons(record, "pins")]
    [('fixed', 16, 'net.py:3')]
    """
    found: dict[str, list[tuple[int, PlaceRecord]]] = {}
    for number, group in enumerate(record.groups):
        for place in _given(group, kind):
            found.setdefault(place.reason, []).append((number, place))
    collected = [
        Reason(text, _places(entries), groups, sum(record.groups[number].channels for number in groups))
        for text, entries in found.items()
        for groups in [tuple(dict.fromkeys(number for number, _ in entries))]
    ]
    return tuple(sorted(collected, key=lambda reason: -reason.channels))


def _given(group: GroupRecord, kind: Kind) -> Sequence[PlaceRecord]:
    if kind == "constraints":
        return [PlaceRecord(reason=sentence) for sentence in group.constraints]
    return group.pins if kind == "pins" else group.approximations


def _places(entries: Sequence[tuple[int, PlaceRecord]]) -> tuple[Place, ...]:
    found: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for number, place in entries:
        found.setdefault((place.source, place.operation), []).append((number, place.module))
    return tuple(
        Place(
            source,
            operation,
            tuple(dict.fromkeys(module for _, module in uses if module)),
            tuple(dict.fromkeys(number for number, _ in uses)),
        )
        for (source, operation), uses in found.items()
    )
