"""Selecting groups by name pattern. A pattern that selects nothing is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase

from convslim.channels.graph import ChannelGraph, ChannelGroup
from convslim.errors import PlanError, nearest

NamesOf = Callable[[ChannelGroup], Iterable[str]]


def maker_names(group: ChannelGroup) -> tuple[str, ...]:
    """The group's name and the layers that make its channels."""
    return (group.name, *group.producers)


def all_names(group: ChannelGroup) -> tuple[str, ...]:
    """The group's name and every layer that makes or reads its channels."""
    return (*maker_names(group), *group.consumers)


def matching(graph: ChannelGraph, pattern: str, names_of: NamesOf) -> set[str]:
    """Names of the groups of which one of ``names_of`` matches a pattern with ``*``, ``?`` and ``[…]``.

    Raises:
        PlanError: If there is none.
    """
    found = {group.name for group in graph.groups if any(fnmatchcase(name, pattern) for name in names_of(group))}
    if found:
        return found
    known = sorted({name for group in graph.groups for name in names_of(group)})
    inside = next((name for name in known if name.startswith(f"{pattern}.")), None)
    hint = f" For everything inside it write '{pattern}.*'." if inside else nearest(pattern, known)
    raise PlanError(f"The pattern {pattern!r} matches no layer or channel group of the model.{hint}")


def kept_whole(graph: ChannelGraph, patterns: Iterable[str]) -> set[str]:
    """Groups that ``keep`` patterns protect: those that a matching layer makes or reads.

    Raises:
        PlanError: If a pattern matches nothing.
    """
    return {name for pattern in patterns for name in matching(graph, pattern, all_names)}


def ratios_by_group(graph: ChannelGraph, ratios: Mapping[str, float]) -> dict[str, float]:
    """Pruning ratio by group name; where several patterns match, the last one counts.

    Raises:
        PlanError: If a pattern matches nothing, or a ratio is not in [0, 1).
    """
    found: dict[str, float] = {}
    for pattern, ratio in ratios.items():
        if not 0 <= ratio < 1:
            raise PlanError(
                f"The pruning ratio of {pattern!r} is {ratio}; it is the fraction of channels that goes, "
                "from 0 up to below 1."
            )
        found |= dict.fromkeys(matching(graph, pattern, maker_names), ratio)
    return found
