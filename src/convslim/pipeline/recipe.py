"""Recipes: a model, data, and a list of steps, read from YAML and validated before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, model_validator

from convslim.errors import RecipeError, nearest
from convslim.pipeline.overrides import apply_overrides
from convslim.pipeline.source_lines import read_yaml
from convslim.pipeline.state import StepConfig
from convslim.pipeline.steps import STEPS
from convslim.pipeline.steps.evaluate import EvaluateStep
from convslim.pipeline.steps.schedule import written_out

SEEDS_PER_RECIPE = 1000


class ModelSpec(StepConfig):
    """A network: `spec` and `options` as `models.create` takes them, and a file of weights.

    `weights` may hold `${NAME}`, which stands for an environment variable. `heads` is `module:factory` of what reads
    the outputs of a detector of your own, see docs/detection.md.
    """

    spec: str
    options: dict[str, Any] = Field(default_factory=dict)
    weights: str | None = None
    heads: str | None = None


class DataSpec(StepConfig):
    """A data set: `spec` and `options` as `open_data` takes them; `spec` may hold `${NAME}`."""

    spec: str
    options: dict[str, Any] = Field(default_factory=dict)


class RecipeStep(StepConfig):
    """One entry of `steps`: a kind and the configuration that belongs to it."""

    kind: str
    config: BaseModel


class Recipe(StepConfig):
    """What a run does.

    `evaluation` says how the network is evaluated after every step that changes it. `threads` are PyTorch's
    intra-op threads for the whole run; on a machine that is busy with other work, one is faster than all.
    """

    name: str = Field(min_length=1)
    seed: int = Field(default=0, ge=0)
    threads: int | None = Field(default=None, ge=1)
    model: ModelSpec
    data: DataSpec
    evaluation: EvaluateStep = EvaluateStep()
    steps: tuple[RecipeStep, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _seeds(self) -> Recipe:
        """Give every step without a seed one of its own, so that no two steps see the same random order."""
        for number, step in enumerate(self.steps, start=1):
            if "seed" in type(step.config).model_fields and "seed" not in step.config.model_fields_set:
                seeded = step.config.model_copy(update={"seed": SEEDS_PER_RECIPE * self.seed + number})
                object.__setattr__(step, "config", seeded)
        return self

    def to_data(self) -> dict[str, Any]:
        """The recipe with all defaults filled in, as JSON values; `parse_recipe` reads it back."""
        data = self.model_dump(mode="json", exclude={"steps"})
        return {**data, "steps": [{step.kind: step.config.model_dump(mode="json")} for step in self.steps]}


def load_recipe(source: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe from a YAML file, or by the name of one that convslim brings along.

    Args:
        overrides: `path.to.key=value` assignments, see `apply_overrides`.

    Raises:
        RecipeError: no such recipe, or something in it is wrong: names the line, the key and the rule.
    """
    name, text = _read(source)
    data, lines = read_yaml(text, name)
    return parse_recipe(apply_overrides(data, overrides), name=name, lines=lines)


def builtin_recipes() -> dict[str, str]:
    """Name → YAML text of the recipes that convslim brings along."""
    folder = files("convslim") / "recipes"
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".yaml")]
    return {entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8") for entry in found}


def _read(source: str | Path) -> tuple[str, str]:
    path = Path(source)
    builtin = builtin_recipes()
    if not path.suffix and str(source) in builtin:
        return f"{source}.yaml", builtin[str(source)]
    try:
        return path.name, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"Cannot read the recipe {source}: {error}. Give a YAML file, or one of convslim's own: "
            f"{', '.join(sorted(builtin))}.{nearest(str(source), builtin)}"
        ) from error


def parse_recipe(
    data: Any, *, name: str = "recipe", lines: Mapping[tuple[str | int, ...], int] | None = None
) -> Recipe:
    """Validate a recipe given as nested dicts and lists.

    Raises:
        RecipeError: see `load_recipe`.
    """
    reader = _Reader(name, lines or {})
    if not isinstance(data, dict):
        raise RecipeError(f"{name}: a recipe is a mapping with name, model, data and steps, not {data!r}.")
    steps = data.get("steps")
    if not isinstance(steps, list) or not steps:
        raise RecipeError(f"{name}: a recipe needs 'steps', a list such as [{{train: {{epochs: 3}}}}].")
    parsed = tuple(step for number, item in enumerate(steps) for step in reader.steps(number, item))
    recipe: Recipe = reader.validate(Recipe, {**data, "steps": parsed}, ())
    return recipe


class _Reader:
    """Validation whose errors name file, line and key."""

    def __init__(self, name: str, lines: Mapping[tuple[str | int, ...], int]) -> None:
        self.name = name
        self.lines = lines

    def steps(self, number: int, item: Any) -> Iterator[RecipeStep]:
        """The step, or the rounds of the schedule that it has."""
        if isinstance(item, str):
            item = {item: {}}
        if not isinstance(item, dict) or len(item) != 1:
            raise RecipeError(
                f"{self._place(('steps', number))}: a step is one kind with its configuration, such as "
                f"'train: {{epochs: 3}}', not {item!r}."
            )
        kind, config = next(iter(item.items()))
        if kind not in STEPS:
            raise RecipeError(
                f"{self._place(('steps', number))}: there is no step '{kind}'; known are {', '.join(STEPS)}."
                f"{nearest(str(kind), STEPS)}"
            )
        for each, its_config, inner in written_out(kind, {} if config is None else config):
            path = ("steps", number, kind, *inner)
            yield RecipeStep.model_construct(kind=each, config=self.validate(STEPS[each].config, its_config, path))

    def validate(self, schema: type[BaseModel], data: Any, path: tuple[str | int, ...]) -> Any:
        try:
            return schema.model_validate(data)
        except ValidationError as error:
            messages = [self._message(schema, path, found) for found in error.errors()]
            raise RecipeError("\n".join(messages)) from error

    def _message(self, schema: type[BaseModel], path: tuple[str | int, ...], error: Any) -> str:
        inner = tuple(error["loc"])
        place = self._place((*path, *inner))
        if error["type"] == "extra_forbidden":
            known = _keys(schema, inner[:-1])
            return f"{place}: unknown key '{inner[-1]}'.{nearest(str(inner[-1]), known)} Known: {', '.join(known)}."
        if error["type"] == "missing":
            return f"{place}: the key '{inner[-1]}' is missing."
        message = error["msg"].removeprefix("Value error, ")
        return f"{place}: {message[:1].lower()}{message[1:]}; found {error['input']!r}."

    def _place(self, path: tuple[str | int, ...]) -> str:
        """`file, line 3, steps.2.prune.budget`; the line is that of the nearest enclosing key."""
        known = [path[:length] for length in range(len(path), 0, -1) if path[:length] in self.lines]
        line = f", line {self.lines[known[0]]}" if known else ""
        shown = ".".join(str(key + 1) if isinstance(key, int) else key for key in path)
        return f"{self.name}{line}{', ' if shown else ''}{shown}"


def _keys(schema: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    """Known keys of the mapping at `path` inside a schema."""
    for key in path:
        if isinstance(key, int):
            continue
        field = schema.model_fields.get(str(key))
        annotation = field.annotation if field else None
        options = [annotation, *getattr(annotation, "__args__", ())]
        inner = [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
        if not inner:
            return []
        schema = inner[0]
    return list(schema.model_fields)
