"""A progress bar on terminals, a line now and then in logs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import ClassVar, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Advance = Callable[[str], None]

LINE_EVERY: Final = 30.0
"""Seconds between two lines in a log: enough to see that a run of hours lives, too few to fill a disk."""


class LogBar:
    """How far one work is, for standard error that is no terminal: a line, unless there was one lately."""

    latest: ClassVar[float] = time.monotonic()
    """When the last line was written, by any work; there is one log."""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.began = what, total, time.monotonic()

    def move(self, done: int, note: str = "") -> None:
        """Say that so many parts are done."""
        now = time.monotonic()
        if not done or now - LogBar.latest < LINE_EVERY:
            return
        LogBar.latest = now
        left = timedelta(seconds=round((now - self.began) * (self.total - done) / done))
        text = "  ".join(part for part in (self.what, f"{done}/{self.total}", f"{left} left", note) if part)
        Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress(label: str, total: int, *, quiet: bool = False) -> Iterator[Advance]:
    """A bar of `total` steps; the yielded function takes one step and shows a note.

    Where standard error is no terminal, a line every half minute takes its place. Nothing is shown when `quiet`.
    """
    console = Console(stderr=True)
    if quiet:
        yield lambda note: None
        return
    if not console.is_terminal:
        log, steps = LogBar(label, total), count(1)
        yield lambda note: log.move(next(steps), note)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=total, note="")
        yield lambda note: bar.update(task, advance=1, note=note)
