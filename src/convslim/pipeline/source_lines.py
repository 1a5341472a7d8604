"""YAML with the line of every key, so that an error can point at it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

from convslim.errors import RecipeError

Path = tuple[str | int, ...]

LONGEST: Final = 2**20
MOST: Final = 100_000
"""Values of a recipe; real ones have some hundred."""


def read_yaml(text: str, name: str) -> tuple[Any, Mapping[Path, int]]:
    """Parse YAML safely.

    Args:
        name: of the file, for messages.

    Returns:
        The data, and the line (from 1) of every key and list item by its path.

    Raises:
        RecipeError: the text is not YAML, or a key stands twice in one mapping.

    >>> data, lines = read_yaml("name: a\\nsteps:\\n- train:\\n    epochs: 2\\n", "r.yaml")
    >>> lines["steps", 0, "train", "epochs"]
    4
    """
    node, data = _parsed(text, name)
    lines: dict[Path, int] = {}
    if node is not None:
        _collect(node, (), name, lines)
    return data, lines


def read_value(text: str, place: str) -> Any:
    """Parse one value of the command line as YAML, safely.

    Args:
        place: what messages begin with.

    Raises:
        RecipeError: the text is not YAML.

    >>> read_value("[1, two]", "--set keep=[1, two]")
    [1, 'two']
    """
    return _parsed(text, place)[1]


def _parsed(text: str, name: str) -> tuple[yaml.Node | None, Any]:
    """The tree and the data; nothing is built before it is clear that it stays small."""
    if len(text) > LONGEST:
        raise RecipeError(f"{name}: {len(text):,} letters are too many for a recipe; the most are {LONGEST:,}.")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        _check_size(node, name)
        return node, yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise RecipeError(f"{name}{place}: this is not YAML: {problem}. Check indentation and colons.") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:  # of values such as 2026-99-99
        words = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RecipeError(f"{name}: a value cannot be read: {words}. Check dates, numbers and brackets.") from error


def _check_size(node: yaml.Node | None, name: str) -> None:
    """Aliases let a few lines stand for more values than fit into memory, or for themselves."""
    open_nodes, count = [node], 0
    while open_nodes:
        current = open_nodes.pop()
        count += 1
        if count > MOST:
            raise RecipeError(f"{name}: aliases make more than {MOST:,} values of it. Write the values out.")
        if isinstance(current, yaml.MappingNode):
            open_nodes += [part for pair in current.value for part in pair]
        elif isinstance(current, yaml.SequenceNode):
            open_nodes += current.value


def _collect(node: yaml.Node, path: Path, name: str, lines: dict[Path, int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise RecipeError(f"{name}, line {key.start_mark.line + 1}: a key is a word, not a list or a mapping.")
            inner = (*path, key.value)
            if inner in lines:
                raise RecipeError(
                    f"{name}, line {key.start_mark.line + 1}: key '{key.value}' stands here again after line "
                    f"{lines[inner]}. Remove one of them."
                )
            lines[inner] = key.start_mark.line + 1
            _collect(value, inner, name, lines)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            inner = (*path, number)
            lines[inner] = value.start_mark.line + 1
            _collect(value, inner, name, lines)
