"""Budgets as words of the command line, and what became of them."""

from __future__ import annotations

from typing import Any, cast, get_args

import typer

from convslim.errors import BudgetError, RecipeError
from convslim.export.arithmetic import Mode
from convslim.pipeline.source_lines import read_value


def parse_budget(texts: list[str]) -> dict[str, Any]:
    """`METRIC=NUMBER` texts, each one or several with commas between them, as a budget.

    Raises:
        BudgetError: a text has another form, or names a metric twice.

    >>> parse_budget(["macs=0.5,params=400000"])
    {'macs': 0.5, 'params': 400000}
    """
    found = {}
    for text in ",".join(texts).split(","):
        metric, equals, value = text.strip().partition("=")
        number = _number(value) if equals else None
        if not isinstance(number, int | float) or isinstance(number, bool):
            raise BudgetError(f"--budget {text}: write METRIC=NUMBER, for example macs=0.5 or ms=3.")
        if metric in found:
            raise BudgetError(f"--budget {text}: {metric} is given twice.")
        found[metric] = 1.0 if number == 1 else number
    return found


def known_arithmetic(text: str) -> Mode:
    """`--arithmetic`, if there is such a one.

    >>> known_arithmetic("int8")
    'int8'
    """
    for known in get_args(Mode):
        if text == known:
            return cast(Mode, text)
    raise typer.BadParameter(f"--arithmetic {text}: write one of {', '.join(get_args(Mode))}.")


def _number(text: str) -> Any:
    try:
        return read_value(text, "--budget")
    except RecipeError:
        return None


def change(before: int, after: int) -> str:
    """A cost before and after.

    >>> change(4000, 1000)
    '4,000 → 1,000 (25.0 %)'
    """
    return f"{before:,} → {after:,} ({100 * after / before:.1f} %)"
