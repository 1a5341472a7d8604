"""`convslim run` and `convslim demo`."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from convslim.cli.console import note, out, say, step_line
from convslim.pipeline import Recipe, load_recipe
from convslim.pipeline import run as run_recipe
from convslim.report import run_table

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the final tables, no progress.")]


def demo(
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder of the run; an earlier demo in it is replaced.")
    ] = Path("convslim-demo"),
    quiet: Quiet = False,
) -> None:
    """Train, sparsify, prune, fine-tune and export a small network on embedded data: under two minutes.

    Example: [bold]convslim demo[/bold]
    """
    _run(load_recipe("demo"), "demo", out_dir, resume=False, overwrite=True, quiet=quiet)


def run(
    recipe: Annotated[str, typer.Argument(help="A YAML file, or a name that `convslim recipes` lists.")],
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder of the run. Default: runs/NAME-OF-THE-RECIPE.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run.")] = False,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Change the recipe: KEY=VALUE, repeatable.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Carry out a recipe: from a trained or trainable network to a smaller one, measured.

    Examples:

      convslim run cifar10-resnet56-slim --out runs/r56

      convslim run my.yaml --set steps.prune.budget.macs=0.4 --set seed=1

      convslim run my.yaml --out runs/mine --resume

      torchrun --nproc-per-node 4 -m convslim.cli run my.yaml --out runs/mine
    """
    if resume and overwrite:
        raise typer.BadParameter("--resume goes on, --overwrite starts again: give one of them.")
    loaded = load_recipe(recipe, assignments or ())
    folder = out_dir or Path("runs") / loaded.name
    _run(loaded, recipe, folder, resume=resume, overwrite=overwrite, quiet=quiet, assignments=assignments or [])


def _run(
    recipe: Recipe,
    name: str,
    folder: Path,
    *,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    assignments: list[str] | None = None,
) -> None:
    total = len(recipe.steps)
    try:
        record = run_recipe(
            recipe,
            folder,
            resume=resume,
            overwrite=overwrite,
            quiet=quiet,
            on_step=None if quiet else lambda number, step: say(step_line(number, total, step)),
        )
    except KeyboardInterrupt:
        changes = [part for assignment in assignments or () for part in ("--set", assignment)]
        command = shlex.join(["convslim", "run", name, "--out", str(folder), *changes, "--resume"])
        note(f"Interrupted. Go on with: {command}")
        raise typer.Exit(130) from None
    if os.environ.get("RANK", "0") != "0":
        return  # under torchrun the first process speaks for all
    out().print(run_table(record))
    say(f"Record: {folder / 'record.json'}   network: {folder / 'model'}")
