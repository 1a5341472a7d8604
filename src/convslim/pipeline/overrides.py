"""`--set key=value`: changes to a recipe from the command line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from convslim.errors import RecipeError, nearest
from convslim.pipeline.source_lines import read_value


def apply_overrides(data: Any, assignments: Iterable[str]) -> Any:
    """A copy of a recipe's data with `path.to.key=value` assignments carried out.

    Values are read as YAML. Behind `steps` stands the kind of a step where the recipe has one of it, or the
    number of the step, from 1.

    Raises:
        RecipeError: an assignment has no '=', or its path leads nowhere.

    >>> recipe = {"seed": 0, "steps": [{"prune": {"budget": {"macs": 0.5}}}]}
    >>> apply_overrides(recipe, ["steps.prune.budget.macs=0.4", "seed=3"])
    {'seed': 3, 'steps': [{'prune': {'budget': {'macs': 0.4}}}]}
    """
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise RecipeError(f"--set {assignment}: write KEY=VALUE, for example steps.prune.budget.macs=0.4.")
        data = _assigned(data, path.split("."), read_value(text, f"--set {assignment}"), assignment)
    return data


def _assigned(data: Any, keys: list[str], value: Any, assignment: str) -> Any:
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if isinstance(data, list):
        place, rest = _step(data, key, rest, assignment)
        return [
            _assigned(item, rest, value, assignment) if number == place else item for number, item in enumerate(data)
        ]
    if data is None or isinstance(data, str):  # a bare step, `- evaluate`
        data = {data: {}} if data else {}
    if not isinstance(data, dict):
        raise RecipeError(f"--set {assignment}: '{key}' stands behind {data!r}, which has no keys.")
    return {**data, key: _assigned(data.get(key), rest, value, assignment)}


def _step(steps: list[Any], key: str, rest: list[str], assignment: str) -> tuple[int, list[str]]:
    """Index of the step that `key` means, and the keys to follow inside it."""
    kinds = [item if isinstance(item, str) else next(iter(item), "") for item in steps]
    if key.isdecimal():
        if not 1 <= int(key) <= len(steps):
            raise RecipeError(f"--set {assignment}: there is no step {key}; the recipe has {len(steps)}.")
        place = int(key) - 1
        return place, rest if rest[:1] == [kinds[place]] else [kinds[place], *rest]
    found = [number for number, kind in enumerate(kinds) if kind == key]
    if len(found) == 1:
        return found[0], [key, *rest]
    if not found:
        raise RecipeError(
            f"--set {assignment}: the recipe has no step '{key}'; its steps are {', '.join(kinds)}."
            f"{nearest(key, kinds)}"
        )
    numbers = ", ".join(str(number + 1) for number in found)
    raise RecipeError(
        f"--set {assignment}: the recipe has {len(found)} steps '{key}' ({numbers}); name one by its number, "
        f"steps.{found[0] + 1}.{'.'.join(rest)}."
    )
