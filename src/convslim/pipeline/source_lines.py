"""YAML with the line of every key, so that an error can point at it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from convslim.errors import RecipeError

Path = tuple[str | int, ...]


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
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise RecipeError(f"{name}{place}: this is not YAML: {problem}. Check indentation and colons.") from error
    lines: dict[Path, int] = {}
    if node is not None:
        _collect(node, (), name, lines)
    return data, lines


def _collect(node: yaml.Node, path: Path, name: str, lines: dict[Path, int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
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
