"""Where the commands write: results to standard output, messages to standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from convslim.report import StepRecord

if TYPE_CHECKING:
    from convslim.measure.watch import Watch

_WIDEST = 1000
"""Characters of a line; no table needs more."""


def out() -> Console:
    """Standard output, found anew at every call, so that redirection works."""
    return Console()


def say(message: str) -> None:
    """Print plain text to standard output, without wrapping or markup."""
    out().print(message, markup=False, highlight=False, soft_wrap=True)


def show(table: RenderableType) -> None:
    """Print a table to standard output; where that is too narrow the lines are longer, and no number is cut off."""
    console = out()
    needed = Measurement.get(console, console.options.update(width=_WIDEST), table).maximum
    Console(width=max(console.width, needed)).print(table)


def note(message: str) -> None:
    """Print plain text to standard error."""
    Console(stderr=True).print(message, markup=False, highlight=False, soft_wrap=True)


def fail(message: str) -> None:
    """Print an error to standard error."""
    note(f"Error: {message}")


@contextmanager
def watching(*, quiet: bool) -> Iterator[Watch | None]:
    """A bar for work that says how far it is, and a line now and then in a log; the yielded function moves it."""
    console = Console(stderr=True)
    if quiet:
        yield None
        return
    if not console.is_terminal:
        yield _logged()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("begin", total=None)

        def move(what: str, done: int, total: int) -> None:
            if not done:
                bar.reset(task, description=what, total=total)  # the next part has a pace of its own
            bar.update(task, completed=done)

        yield move


def _logged() -> Watch:
    from convslim.train.progress import LogBar  # PyTorch comes with it, and --help needs none

    logs: dict[str, LogBar] = {}

    def move(what: str, done: int, total: int) -> None:
        if not done:
            logs[what] = LogBar(what, total)
        logs[what].move(done)

    return move


def step_line(number: int, total: int, step: StepRecord) -> str:
    """One line on a finished step."""
    name = "" if step.measure == "accuracy" else f"{step.measure} "
    measured = "" if step.measured is None else f"  {name}{100 * step.measured:6.2f} % ({step.images})"
    return f"[{number}/{total}] {step.kind:<11}{measured}  {step.macs:,} MACs  {step.seconds:.1f} s"
