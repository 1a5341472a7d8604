"""The data set of a recipe."""

from __future__ import annotations

from dataclasses import replace

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
    train, test = source.train, source.test
    if not isinstance(train, DetectionSplit) or not isinstance(test, DetectionSplit):
        raise RecipeError(
            f"model.heads is {recipe.model.heads}, which reads a detector's outputs, but the images of "
            f"{recipe.data.spec} have labels, not boxes. Leave model.heads out, or give data with boxes."
        )
    heads = own_heads(recipe.model.heads)
    return replace(source, train=replace(train, heads=heads), test=replace(test, heads=heads))
