"""Methods: recipes that leave network, data and budget open."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from convslim.errors import RecipeError, nearest
from convslim.pipeline.source_lines import read_yaml
from convslim.pipeline.steps import STEPS
from convslim.train import TrainConfig


def builtin_methods() -> dict[str, str]:
    """Name → YAML text of the methods that convslim brings along."""
    folder = files("convslim") / "recipes" / "methods"
    found = {entry.name.removesuffix(".yaml"): entry for entry in folder.iterdir() if entry.name.endswith(".yaml")}
    return {name: found[name].read_text(encoding="utf-8") for name in sorted(found)}


def method_recipe(
    method: str,
    model: Mapping[str, Any],
    data: Mapping[str, Any],
    budget: Mapping[str, int | float],
    *,
    train: int | None = None,
    epochs: int | None = None,
) -> dict[str, Any]:
    """The recipe of a method, for `parse_recipe`.

    Args:
        method: A name that `builtin_methods` has.
        model, data: As in a recipe, `{"spec": "resnet56_cifar", "weights": "r56.safetensors"}`.
        budget: For the step that cuts.
        train: Epochs of a step `train` before everything else, for networks that are not trained yet.
        epochs: Epochs of the last training instead of the method's own: of fine-tuning, where there is some.

    Raises:
        RecipeError: There is no such method.

    >>> recipe = method_recipe("slim", {"spec": "digits_cnn"}, {"spec": "digits"}, {"macs": 0.5}, epochs=3)
    >>> recipe["name"], [step if isinstance(step, str) else next(iter(step)) for step in recipe["steps"]]
    ('slim-digits_cnn', ['evaluate', 'sparsify', 'prune', 'recalibrate', 'finetune', 'export'])
    """
    known = builtin_methods()
    if method not in known:
        raise RecipeError(f"There is no method '{method}'; known are {', '.join(known)}.{nearest(method, known)}")
    template, _ = read_yaml(known[method], f"{method}.yaml")
    steps: list[Any] = template["steps"]
    last = max(number for number, step in enumerate(steps) if _trains(step))
    steps = [_filled(step, budget, epochs if number == last else None) for number, step in enumerate(steps)]
    if train is not None:
        first = {"epochs": train, "lr": 0.1, "warmup_epochs": min(1, train / 4)}
        steps = [{"train": first}, *(step for step in steps if step != "evaluate")]
    name = re.sub(r"\W+", "-", f"{method}-{str(model['spec']).rpartition('/')[2]}")
    return {"name": name, **template, "model": dict(model), "data": dict(data), "steps": steps}


def _trains(step: Any) -> bool:
    return isinstance(step, dict) and issubclass(STEPS[next(iter(step))].config, TrainConfig)


def _filled(step: Any, budget: Mapping[str, int | float], epochs: int | None) -> Any:
    """A step with what the template leaves open."""
    if isinstance(step, str):
        return step
    kind, config = next(iter(step.items()))
    if "budget" in STEPS[kind].config.model_fields:
        config = {**config, "budget": dict(budget)}
    if epochs is not None:
        config = {**config, "epochs": epochs, "warmup_epochs": min(config.get("warmup_epochs", 0), epochs / 4)}
    return {kind: config}
