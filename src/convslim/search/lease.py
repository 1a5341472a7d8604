"""Who works on which candidate, and how the others see that a worker is gone.

A worker writes its process into the trial that it takes and then, every few seconds, a count of heartbeats. A trial
counts as left behind if its process is gone (same machine), or if its count has stood still for a grace period by the
*observer's* clock: clocks of several machines need not agree. The rule is the same for every storage.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

import optuna
from optuna.trial import FrozenTrial

from convslim.search.storage import TROUBLES

WORKER, BEAT = "worker", "beat"

INTERVAL: Final = 10.0
"""Seconds between two heartbeats."""

TOKEN: Final = secrets.token_hex(8)
"""Tells this process from an earlier one with the same number, as containers have after a restart."""

GRACE: Final = 60.0
"""Seconds without a heartbeat after which a candidate is given to another worker."""


def this_worker() -> dict[str, Any]:
    """This process, as others can look for it: machine, space of process numbers, number, and a token."""
    space = Path("/proc/self/ns/pid")
    return {
        "host": platform.node(),
        "space": str(space.readlink()) if space.exists() else "",
        "pid": os.getpid(),
        "token": TOKEN,
    }


def is_gone(worker: Mapping[str, Any]) -> bool:
    """True if the process is known to have ended; of other machines nothing is known."""
    mine = this_worker()
    if any(worker.get(key) != mine[key] for key in ("host", "space")) or os.name != "posix":
        return False
    if worker["pid"] == mine["pid"]:
        return bool(worker.get("token") != TOKEN)
    try:
        os.kill(int(worker["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


@contextlib.contextmanager
def heartbeat(trial: optuna.Trial, interval: float = INTERVAL) -> Iterator[None]:
    """Show, from a thread beside, that this process still works on the trial."""
    over = Event()

    def beat() -> None:
        count = 0
        with contextlib.suppress(*TROUBLES):  # the main thread meets the same trouble, and tells of it
            while not over.wait(interval):
                count += 1
                trial.set_user_attr(BEAT, count)

    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Watchman:
    """Remembers when the heartbeat of each running trial last changed.

    Args:
        grace: Seconds without a change after which a trial counts as left behind.
    """

    def __init__(self, grace: float = GRACE) -> None:
        self.grace = grace
        self._seen: dict[int, tuple[object, float]] = {}

    def left_behind(self, trial: FrozenTrial) -> bool:
        """True if nobody works on a running trial any more."""
        worker = trial.user_attrs.get(WORKER)
        if worker is not None and is_gone(worker):
            return True
        beat, now = (worker, trial.user_attrs.get(BEAT)), time.monotonic()
        before = self._seen.get(trial.number)
        if before is None or before[0] != beat:
            self._seen[trial.number] = (beat, now)
            return False
        return now - before[1] > self.grace
