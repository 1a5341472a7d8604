"""Recipes and how they are carried out."""

from convslim.pipeline.recipe import Recipe, builtin_recipes, load_recipe, parse_recipe
from convslim.pipeline.run import run

__all__ = ["Recipe", "builtin_recipes", "load_recipe", "parse_recipe", "run"]
