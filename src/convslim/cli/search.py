"""`convslim search`: more workers for a search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from convslim.cli.console import note, say
from convslim.cli.run import Quiet
from convslim.pipeline.search_worker import work_on

WORKER = "worker"


def search(
    what: Annotated[str, typer.Argument(metavar=WORKER, help="What to be: a worker.")],
    storage: Annotated[str, typer.Option(help="Storage of the search: a .db or .journal file, or a URL.")],
    study: Annotated[str, typer.Option(help="Name of the study, as the recipe or the record gives it.")],
    run: Annotated[Path | None, typer.Option(help="Folder of the run, if this machine sees it elsewhere.")] = None,
    quiet: Quiet = False,
) -> None:
    """Evaluate candidates of a search beside the run that began it, until it is over.

    Start as many as there are processors; end one at any moment, and others take its candidate over.

    Examples:

      convslim search worker --storage runs/search.journal --study r56

      convslim search worker --storage postgresql://user@host/name --study r56 --run /mnt/runs/r56
    """
    if what != WORKER:
        raise typer.BadParameter(f"{what!r} is nothing that takes part in a search; say: convslim search {WORKER} …")
    try:
        result = work_on(storage, study, run, quiet=quiet)
    except KeyboardInterrupt:
        note("Interrupted. Nothing is lost: others go on with the candidate, or this command started again.")
        raise typer.Exit(130) from None
    if result is None:
        say("The search is over.")
        return
    best = result.best
    say(f"The search is over: {result.num_evaluated} candidates, best {best.name} with {100 * best.measured:.2f} %.")
