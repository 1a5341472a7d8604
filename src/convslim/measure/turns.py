"""Timing several things in turn, so that noise hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from convslim.measure.watch import Watch, watched

Clock = Callable[[], float]
Name = TypeVar("Name", bound=Hashable)

BURST = 10
"""Calls of one subject in a row. Other subjects drive its weights out of the caches, so each burst begins with one
call that is not timed."""


def time_in_turn(
    calls: Mapping[Name, Callable[[], object]],
    *,
    repeats: int,
    warmup: int = 10,
    burst: int = BURST,
    clock: Clock = time.perf_counter,
    watch: Watch | None = None,
) -> dict[Name, list[float]]:
    """Milliseconds of `repeats` calls of each subject, taken in short bursts that take turns.

    Args:
        calls: name → what is timed.
        warmup: calls of each before anything is timed.
        clock: seconds, ever rising.
        watch: told how many turns are over.

    >>> ticks = iter(range(100))
    >>> time_in_turn({"a": lambda: None}, repeats=2, warmup=1, clock=lambda: next(ticks) / 1000)
    {'a': [1.0, 1.0]}
    """
    for call in calls.values():
        for _ in range(warmup):
            call()
    times: dict[Name, list[float]] = {name: [] for name in calls}
    for done in watched(range(0, repeats, burst), "time in turn", watch):
        for name, call in calls.items():
            call()
            for _ in range(min(burst, repeats - done)):
                started = clock()
                call()
                times[name].append(1000.0 * (clock() - started))
    return times
