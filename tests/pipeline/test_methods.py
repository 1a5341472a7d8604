"""Methods as templates: what is filled in, and that every one of them is a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from convslim.errors import RecipeError
from convslim.pipeline import parse_recipe
from convslim.pipeline.methods import builtin_methods, method_recipe

MODEL, DATA, BUDGET = {"spec": "digits_cnn"}, {"spec": "digits"}, {"macs": 0.5}


def filled(method: str, **changes: Any) -> Any:
    return parse_recipe(method_recipe(method, MODEL, DATA, BUDGET, **changes))


@pytest.mark.parametrize("method", builtin_methods())
def test_every_method_is_a_recipe(method: str):
    recipe = filled(method)
    assert recipe.name == f"{method}-digits_cnn"
    budgets = [step.config.budget for step in recipe.steps if getattr(step.config, "budget", None) is not None]
    assert [budget.macs for budget in budgets] == [0.5]
    assert builtin_methods()[method].startswith("# ")


@pytest.mark.parametrize("method", builtin_methods())
def test_epochs_are_those_of_the_last_training(method: str):
    before, after = ([getattr(step.config, "epochs", None) for step in filled(method, **o).steps] for o in ({}, E7))
    changed = [number for number, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
    trainings = [number for number, epochs in enumerate(before) if epochs is not None]
    assert changed == trainings[-1:]
    assert after[changed[0]] == 7


E7 = {"epochs": 7}


def test_a_new_network_is_trained_first():
    recipe = filled("gfr", train=9)
    assert [step.kind for step in recipe.steps][:3] == ["train", "sparsify", "prune"]
    assert recipe.steps[0].config.model_dump()["epochs"] == 9


def test_names_are_names_of_folders():
    model = {"spec": "path/to/file.py:make"}
    assert method_recipe("slim", model, DATA, BUDGET)["name"] == "slim-file-py-make"


def test_unknown_methods_are_refused():
    with pytest.raises(RecipeError, match=r"known are .*gfr.*Did you mean 'slim'"):
        method_recipe("slimm", MODEL, DATA, BUDGET)


def test_templates_leave_network_data_and_budget_open():
    for text in builtin_methods().values():
        assert not any(line.startswith(("model:", "data:")) or "budget" in line for line in text.splitlines())


def test_templates_are_packaged():
    assert '"recipes/methods/*.yaml"' in (Path(__file__).parents[2] / "pyproject.toml").read_text()
