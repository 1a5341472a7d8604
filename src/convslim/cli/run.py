"""`convslim run`."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from convslim.cli.console import note, say, show, step_line
from convslim.cli.dry_run import dry_run
from convslim.cli.methods import MethodWords, recipe_of_method
from convslim.errors import ConvslimError, RecipeError
from convslim.pipeline import Recipe, load_recipe
from convslim.pipeline import run as run_recipe
from convslim.report import RunRecord, run_table
from convslim.report.run_files import read_run
from convslim.report.write import PAGE, write_page

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the final tables, no progress.")]


def run(
    recipe: Annotated[str | None, typer.Argument(help="A YAML file, or a name that `convslim recipes` lists.")] = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder of the run. Default: runs/NAME-OF-THE-RECIPE.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run.")] = False,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Change the recipe: KEY=VALUE, repeatable.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Instead of a recipe: a method that `convslim recipes` lists.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="For --method: resnet56_cifar, timm:NAME, …")] = None,
    data: Annotated[str | None, typer.Option(help="For --method: digits, cifar10, imagefolder:PATH, …")] = None,
    budget: Annotated[list[str] | None, typer.Option(help="For --method: macs=0.5 or params=400000.")] = None,
    weights: Annotated[Path | None, typer.Option(help="For --method: .safetensors, .pt or .pth file.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="For --method: KEY=VALUE of the network.")] = None,
    train: Annotated[
        int | None, typer.Option(min=1, help="For --method: epochs of training before, for new networks.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="For --method: epochs of fine-tuning.")] = None,
    print_only: Annotated[bool, typer.Option("--print", help="For --method: print the recipe, run nothing.")] = False,
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, say what the run will take, and stop.")
    ] = False,
    quiet: Quiet = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="The record as JSON on standard output; no progress.")
    ] = False,
) -> None:
    """Carry out a recipe: from a trained or trainable network to a smaller one, measured.

    Examples:

      convslim run cifar10-resnet56-slim --out runs/r56

      convslim run my.yaml --set steps.prune.budget.macs=0.4 --set seed=1

      convslim run my.yaml --out runs/mine --dry-run

      convslim run my.yaml --out runs/mine --resume

      convslim run --method gfr --model resnet56_cifar --weights r56.pt --data cifar10 --budget macs=0.5

      torchrun --nproc-per-node 4 -m convslim.cli run my.yaml --out runs/mine
    """
    if resume and overwrite:
        raise typer.BadParameter("--resume goes on, --overwrite starts again: give one of them.")
    words = MethodWords(method, model, data, budget or [], weights, option or [], train, epochs)
    loaded, named, text = _asked_for(recipe, words, assignments or [])
    if print_only:
        if text is None:
            raise typer.BadParameter("--print belongs to --method; convslim recipes NAME prints a recipe.")
        say(text.rstrip())
        return
    folder = out_dir or default_folder(loaded)
    if dry:
        dry_run(loaded, folder, as_json=as_json, quiet=quiet)
        return
    quiet = quiet or as_json
    again = {"resume": resume, "overwrite": overwrite}
    run_in(loaded, named, folder, **again, quiet=quiet, assignments=assignments or [], as_json=as_json)


def default_folder(recipe: Recipe) -> Path:
    """`runs/NAME`, for names that cannot lead elsewhere.

    Raises:
        RecipeError: the name is no name of a folder.
    """
    if not re.fullmatch(r"\w[\w .+-]*", recipe.name):
        raise RecipeError(f"The name {recipe.name!r} is no name of a folder. Give the folder with --out.")
    return Path("runs") / recipe.name


def _asked_for(recipe: str | None, words: MethodWords, assignments: list[str]) -> tuple[Recipe, list[str], str | None]:
    """The recipe, the words that name it in a command, and its text where it was made of these words."""
    if (recipe is None) == (words.method is None) or (recipe is not None and words.given()):
        raise typer.BadParameter("Give a recipe, or --method with --model, --data and --budget.")
    if recipe is not None:
        return load_recipe(recipe, assignments), [recipe], None
    loaded, text = recipe_of_method(words, assignments)
    return loaded, words.given(), text


def run_in(
    recipe: Recipe,
    named: list[str],
    folder: Path,
    *,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    assignments: list[str] | None = None,
    as_json: bool = False,
) -> RunRecord:
    """Carry a recipe out, with lines and tables for a person; `named` says in a command which recipe it is."""
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
        command = shlex.join(["convslim", "run", *named, "--out", str(folder), *changes, "--resume"])
        note(f"Interrupted. Go on with: {command}")
        raise typer.Exit(130) from None
    if os.environ.get("RANK", "0") != "0":
        return record  # under torchrun the first process speaks for all
    page = _page(folder)
    if as_json:
        say(record.model_dump_json(indent=1))
        return record
    show(run_table(record))
    say(f"Record: {folder / 'record.json'}   network: {folder / 'model'}   report: {page}")
    return record


def _page(folder: Path) -> str:
    """The report; what goes wrong with it must not spoil a run that is finished."""
    try:
        return str(write_page(read_run(folder), folder / PAGE))
    except ConvslimError as error:
        note(f"The report could not be written: {error}")
        return "none"
