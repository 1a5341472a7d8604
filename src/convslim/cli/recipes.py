"""`convslim recipes`: those that convslim brings along."""

from __future__ import annotations

from typing import Annotated

import typer

from convslim.cli.console import say
from convslim.errors import RecipeError, nearest
from convslim.pipeline import builtin_recipes


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe instead of the list.")] = None,
) -> None:
    """List the recipes that convslim brings along, or print one to start your own from.

    Examples:

      convslim recipes

      convslim recipes demo > mine.yaml
    """
    found = builtin_recipes()
    if name is None:
        for known, text in sorted(found.items()):
            say(f"{known:<24} {text.splitlines()[0].lstrip('# ')}")
        return
    if name not in found:
        raise RecipeError(f"There is no recipe '{name}'; known are {', '.join(sorted(found))}.{nearest(name, found)}")
    say(found[name].rstrip("\n"))
