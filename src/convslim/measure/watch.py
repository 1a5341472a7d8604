"""Telling a caller how far a long work is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")

Watch = Callable[[str, int, int], None]
"""Called with what is being done, how many parts of it are done, and how many there are."""


def watched(items: Sequence[Item], what: str, watch: Watch | None) -> Iterator[Item]:
    """The items; the watch is called at the beginning and after each.

    >>> list(watched("ab", "letters", print))
    letters 0 2
    letters 1 2
    letters 2 2
    ['a', 'b']
    """
    if watch is not None:
        watch(what, 0, len(items))
    for number, item in enumerate(items, start=1):
        yield item
        if watch is not None:
            watch(what, number, len(items))
