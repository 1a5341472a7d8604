"""Recipes: what is refused, with line, key and rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from convslim.errors import RecipeError
from convslim.pipeline import builtin_recipes, load_recipe, parse_recipe
from convslim.pipeline.environment import expand
from convslim.pipeline.overrides import apply_overrides

TINY = Path(__file__).with_name("tiny.yaml")

GOOD: dict[str, Any] = {
    "name": "good",
    "model": {"spec": "digits_cnn"},
    "data": {"spec": "digits"},
    "steps": ["evaluate", {"prune": {"budget": {"macs": 0.5}}}],
}


@pytest.mark.parametrize("name", sorted(builtin_recipes()))
def test_recipes_that_come_along_are_valid(name: str):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert parse_recipe(recipe.to_data()) == recipe


@pytest.mark.parametrize(
    ("line", "wrong", "message"),
    [
        ("  - evaluate: {limit: 64}", "  - evaluat: {limit: 64}", r"line 10, steps\.1: there is no step 'evaluat'"),
        ("threads: 1", "thread: 1", r"line 3, thread: unknown key 'thread'\. Did you mean 'threads'\?"),
        ("macs: 0.5", "mac: 0.5", r"line 14, steps\.4\.prune\.budget\.mac: unknown key 'mac'\. Did you mean 'macs'"),
        ("macs: 0.5", "macs: 1.5", r"line 14, .*fraction above 0 and up to 1.*found 1\.5"),
        ("macs: 0.5", "macs: lots", r"line 14, .*valid.*found 'lots'"),
        ("{num_batches: 2}", "{num_batches: two}", r"line 15, steps\.5\.recalibrate\.num_batches: .*found 'two'"),
        ("strength: 0.01", "stregth: 0.01", r"line 12, .*Did you mean 'strength'"),
        ("  spec: digits_cnn", "  sepc: digits_cnn", r"line 5, model\.sepc: unknown key 'sepc'\. Did you mean 'spec'"),
        ("name: tiny", "", r"name: the key 'name' is missing"),
        ("name: tiny", "name: tiny\nname: twice", r"line 2: key 'name' stands here again after line 1"),
        ("name: tiny", "name: [tiny", r"this is not YAML"),
        ("      budget: {macs: 0.5}", "      budget: {macs: 0.5}\n      criterion: bnscale", r"line 15.*'bn_scale'"),
        ("      budget: {macs: 0.5}", "      budget: {}", r"a budget needs one or more of macs, params, latency, ms"),
    ],
)
def test_wrong_recipes_name_line_key_and_rule(tmp_path: Path, line: str, wrong: str, message: str):
    text = TINY.read_text()
    assert line in text
    (tmp_path / "wrong.yaml").write_text(text.replace(line, wrong, 1))
    with pytest.raises(RecipeError, match=r"(?s)wrong\.yaml.*" + message):
        load_recipe(tmp_path / "wrong.yaml")


def test_all_errors_are_told_at_once():
    with pytest.raises(RecipeError) as caught:
        parse_recipe({**GOOD, "seed": -1, "nmae": "x"})
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("data", [None, [], "text", {**GOOD, "steps": []}, {**GOOD, "steps": {"train": {}}}])
def test_shapes_that_are_no_recipe_are_refused(data: object):
    with pytest.raises(RecipeError, match="a recipe"):
        parse_recipe(data)


@pytest.mark.parametrize("step", [{"train": {}, "prune": {}}, 3, {}])
def test_shapes_that_are_no_step_are_refused(step: object):
    with pytest.raises(RecipeError, match=r"steps\.1: a step is one kind"):
        parse_recipe({**GOOD, "steps": [step]})


def test_missing_recipe_proposes_the_nearest(tmp_path: Path):
    with pytest.raises(RecipeError, match="Did you mean 'demo'"):
        load_recipe("demmo")
    with pytest.raises(RecipeError, match="Cannot read the recipe"):
        load_recipe(tmp_path / "none.yaml")


def test_every_step_has_a_seed_of_its_own_unless_one_is_given():
    steps = [{"train": {"epochs": 1}}, {"finetune": {"epochs": 1}}, {"finetune": {"epochs": 1, "seed": 7}}]
    recipe = parse_recipe({**GOOD, "seed": 2, "steps": steps})
    assert [step.config.model_dump()["seed"] for step in recipe.steps] == [2001, 2002, 7]


@pytest.mark.parametrize(
    ("assignment", "place", "value"),
    [
        ("steps.prune.budget.macs=0.4", ("steps", 1, "prune", "budget", "macs"), 0.4),
        ("steps.2.budget.macs=0.4", ("steps", 1, "prune", "budget", "macs"), 0.4),
        ("steps.2.prune.budget={params: 0.3}", ("steps", 1, "prune", "budget", "params"), 0.3),
        ("steps.evaluate.limit=5", ("steps", 0, "evaluate", "limit"), 5),
        ("seed=3", ("seed",), 3),
        ("model.options.num_classes=4", ("model", "options", "num_classes"), 4),
    ],
)
def test_overrides_reach_their_place(assignment: str, place: tuple[Any, ...], value: object):
    data = apply_overrides(GOOD, [assignment])
    for key in place:
        data = data[key]
    assert data == value
    assert GOOD["steps"][0] == "evaluate"


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("seed", "write KEY=VALUE"),
        ("steps.prunes.seed=1", r"no step 'prunes'.*Did you mean 'prune'"),
        ("steps.9.seed=1", "no step 9; the recipe has 2"),
        ("steps.prune.budget.macs.x=1", "stands behind 0.5"),
        ("seed=[", "is not YAML"),
    ],
)
def test_wrong_overrides_are_refused(assignment: str, message: str):
    with pytest.raises(RecipeError, match=message):
        apply_overrides(GOOD, [assignment])


def test_ambiguous_override_asks_for_the_number():
    data = {**GOOD, "steps": [{"train": {"epochs": 1}}, {"train": {"epochs": 2}}]}
    with pytest.raises(RecipeError, match=r"2 steps 'train' \(1, 2\).*steps\.1\.lr"):
        apply_overrides(data, ["steps.train.lr=1"])


def test_environment_variables_are_expanded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOME_FOLDER", "/data")
    monkeypatch.delenv("NO_SUCH_FOLDER", raising=False)
    assert expand("imagefolder:${SOME_FOLDER}/x", "data.spec") == "imagefolder:/data/x"
    with pytest.raises(RecipeError, match=r"data\.spec: .*NO_SUCH_FOLDER, which is not set"):
        expand("${NO_SUCH_FOLDER}/x", "data.spec")
