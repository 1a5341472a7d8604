"""`convslim report`: a run as a page to look at, to send, and to print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from convslim.cli.console import say
from convslim.report.run_files import read_runs
from convslim.report.write import COMPARISON, PAGE, write_comparison, write_page


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, or their record.json.")],
    out_file: Annotated[
        Path | None,
        typer.Option("--out", help=f"The file; otherwise RUN/{PAGE}, and {COMPARISON} here for several runs."),
    ] = None,
) -> None:
    """Write an offline HTML page of a run, or of several runs side by side.

    Examples:

      convslim report runs/r56

      convslim report runs/r56 runs/r56-gfr --out methods.html
    """
    found = read_runs(runs)
    if len(found) == 1:
        folder = runs[0] if runs[0].is_dir() else runs[0].parent
        say(f"Report: {write_page(found[0], out_file or folder / PAGE)}")
    else:
        say(f"Report: {write_comparison(found, out_file or Path(COMPARISON))}")
