"""`convslim recipes`: those that convslim brings along."""

from __future__ import annotations

from typing import Annotated

import typer

from convslim.cli.console import say
from convslim.errors import RecipeError, nearest
from convslim.pipeline import builtin_recipes
from convslim.pipeline.methods import builtin_methods


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe instead of the list.")] = None,
) -> None:
    """List the recipes and methods that convslim brings along, or print one to start your own from.

    Examples:

      convslim recipes

      convslim recipes demo > mine.yaml
    """
    found = {**builtin_recipes(), **builtin_methods()}
    if name is None:
        for known, text in sorted(builtin_recipes().items()):
            say(_line(known, text))
        say("\nMethods, for convslim run --method NAME --model … --data … --budget macs=0.5:")
        for known, text in builtin_methods().items():
            say(_line(known, text))
        return
    if name not in found:
        raise RecipeError(f"There is no recipe '{name}'; known are {', '.join(sorted(found))}.{nearest(name, found)}")
    say(found[name].rstrip("\n"))


def _line(name: str, text: str) -> str:
    return f"{name:<30} {text.splitlines()[0].lstrip('# ')}"
