"""The data set of a recipe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from convslim.data import DataSource, open_data
from convslim.data.detection import DetectionSplit
from convslim.detection.own_heads import own_heads
from convslim.errors import RecipeError
from convslim.pipeline.environment import expand
from convslim.pipeline.recipe import Recipe


def open_source(recipe: Recipe) -> DataSource:
    """Open it; the images of a detector of the user's know how its outputs are read.

    Raises:
        DataError: the data cannot be opened.
        ModelError: `model.heads` cannot be imported, or has no `loss` and `detect`.
        RecipeError: `model.heads` is given and the data have no boxes.
    """
    source = open_data(expand(recipe.data.spec, "data.spec"), **recipe.data.options)
    if recipe.model.heads is None:
        return source
    parts = {"train": source.train, "test": source.test, "holdout": source.holdout}
    given = {name: part for name, part in parts.items() if part is not None}
    found = {name: part for name, part in given.items() if isinstance(part, DetectionSplit)}
    if found.keys() != given.keys():
        raise RecipeError(
            f"model.heads is {recipe.model.heads}, which reads a detector's outputs, but the images of "
            f"{recipe.data.spec} have labels, not boxes. Leave model.heads out, or give data with boxes."
        )
    heads = own_heads(recipe.model.heads)
    read: dict[str, Any] = {name: replace(part, heads=heads) for name, part in found.items()}
    return replace(source, **read)
