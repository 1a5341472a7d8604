"""`convslim run --method`, and the demo's table."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from tests.test_cli import call

from convslim.cli.demo import METHODS, methods_table
from convslim.pipeline import load_recipe, parse_recipe, run
from convslim.pipeline.methods import builtin_methods

WORDS = ("--method", "gfr", "--model", "digits_cnn", "--data", "digits", "--budget", "macs=0.5")
TINY = Path(__file__).parents[1] / "pipeline" / "tiny.yaml"


def test_the_printed_recipe_is_one():
    text = call("run", *WORDS, "--epochs", 3, "--option", "num_classes=10", "--set", "seed=4", "--print")
    recipe = parse_recipe(yaml.safe_load(text))
    assert recipe.seed == 4
    assert recipe.model.options == {"num_classes": 10}
    assert recipe.steps[-2].config.model_dump()["epochs"] == 3


def test_a_method_runs_and_resumes(tmp_path: Path):
    short = ("--set", "steps=[{evaluate: {limit: 16}}]")
    assert "[1/1] evaluate" in call("run", *WORDS, *short, "--out", tmp_path / "run")
    call("run", *WORDS, *short, "--out", tmp_path / "run", "--resume", "--quiet")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--method", "gfrr", *WORDS[2:]), 1, "Did you mean 'gfr'"),
        ((*WORDS[:-1], "macs"), 1, "write METRIC=NUMBER"),
        (WORDS[:4], 2, "--budget"),
        (("demo", *WORDS), 2, "Give a recipe"),
        (("demo", "--epochs", "3"), 2, "Give a recipe"),
        (("demo", "--print"), 2, "--print belongs to --method"),
        ((), 2, "Give a recipe"),
    ],
)
def test_wrong_words_are_refused(arguments: tuple[str, ...], code: int, message: str):
    assert message in call("run", *arguments, code=code)


def test_methods_are_listed_and_printed():
    listed = call("recipes")
    assert all(f"\n{method} " in listed for method in builtin_methods())
    assert "sparsify:" in call("recipes", "gfr")


def test_the_demos_table_has_a_row_for_every_method(tmp_path: Path):
    record = run(load_recipe(TINY), tmp_path, quiet=True)
    trained = next(step for step in record.steps if step.kind == "train")
    select = record.model_copy(update={"steps": (trained, record.steps[-1])})
    console = Console(record=True, width=120, file=io.StringIO())
    console.print(methods_table(trained, {"gfr": record, "self-selection": select}))
    rows = [line.split() for line in console.export_text().splitlines() if line.strip()]
    assert [row[0] for row in rows[3:]] == ["unpruned", "gfr", "self-selection"]
    assert rows[4].count("%") == 3
    assert rows[4].count("–") == 1
    assert rows[5].count("–") == 3


def test_the_demos_table_has_the_accuracy_of_integers(tmp_path: Path):
    record = run(load_recipe(TINY), tmp_path, quiet=True)
    trained = next(step for step in record.steps if step.kind == "train")
    tuned = record.steps[-1].model_copy(update={"kind": "finetune", "correct": 9, "total": 10})
    small = tuned.model_copy(update={"kind": "quantize", "correct": 8})
    cut = [step for step in record.steps if step.macs < trained.macs][:2]
    joint = record.model_copy(update={"steps": (trained, *cut, tuned, small)})
    console = Console(record=True, width=120, file=io.StringIO())
    console.print(methods_table(trained, {"joint": joint}))
    row = next(line for line in console.export_text().splitlines() if "joint" in line)
    assert row.split()[-5:-1] == ["90.00", "%", "80.00", "%"]


def test_the_demos_recipes_start_with_the_same_training():
    trainings = {load_recipe(name).steps[0] for name in ("demo", *(recipe for recipe, _ in METHODS.values()))}
    assert len({str(training) for training in trainings}) == 1
