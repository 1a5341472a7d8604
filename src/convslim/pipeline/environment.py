"""Environment variables in a recipe's texts."""

from __future__ import annotations

import os
import re

from convslim.errors import RecipeError


def expand(text: str, place: str) -> str:
    """Replace `${NAME}` by environment variables.

    Raises:
        RecipeError: a variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise RecipeError(
                f"{place}: '{text}' needs the environment variable {match[1]}, which is not set. Set it, for "
                f"example export {match[1]}=/path, or write the path into the recipe."
            )
        return os.environ[match[1]]

    return re.sub(r"\$\{(\w+)\}", value, text)
