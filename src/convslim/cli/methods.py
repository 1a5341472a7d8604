"""A recipe from the words `--method`, `--model`, `--data` and `--budget`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
import yaml

from convslim.cli.budget import parse_budget
from convslim.cli.network import parse_options
from convslim.pipeline import Recipe, parse_recipe
from convslim.pipeline.methods import method_recipe
from convslim.pipeline.overrides import apply_overrides


@dataclass(frozen=True)
class MethodWords:
    """What the command line says of a method."""

    method: str | None
    model: str | None
    data: str | None
    budget: list[str]
    weights: Path | None
    options: list[str]
    train: int | None
    epochs: int | None

    def given(self) -> list[str]:
        """The words that were given, to be repeated in a command."""
        pairs = [
            ("--method", self.method),
            ("--model", self.model),
            ("--data", self.data),
            *(("--budget", text) for text in self.budget),
            ("--weights", self.weights),
            *(("--option", text) for text in self.options),
            ("--train", self.train),
            ("--epochs", self.epochs),
        ]
        return [word for name, value in pairs if value is not None for word in (name, str(value))]

    def data_of_recipe(self) -> dict[str, Any]:
        """The method's recipe for this network and data.

        Raises:
            RecipeError: there is no such method.
            BudgetError: the budget is malformed.
        """
        if self.method is None or self.model is None or self.data is None or not self.budget:
            raise typer.BadParameter("--method needs --model, --data and --budget, for example --budget macs=0.5.")
        model: dict[str, Any] = {"spec": self.model, "options": parse_options(self.options)}
        if self.weights is not None:
            model["weights"] = str(self.weights)
        budget = parse_budget(self.budget)
        return method_recipe(self.method, model, {"spec": self.data}, budget, train=self.train, epochs=self.epochs)


def recipe_of_method(words: MethodWords, overrides: list[str]) -> tuple[Recipe, str]:
    """The recipe, and its text as YAML that can be kept and changed.

    Raises:
        RecipeError: there is no such method, or something in it is wrong.
        BudgetError: the budget is malformed.
    """
    data = apply_overrides(words.data_of_recipe(), overrides)
    return parse_recipe(data, name=f"method {words.method}"), yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
