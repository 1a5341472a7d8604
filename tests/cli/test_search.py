"""`convslim search worker`: it ends what a killed run began, and says what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.test_cli import call

from convslim.pipeline import load_recipe, run
from convslim.search.evaluation_views import ViewEvaluator

PIPELINE = Path(__file__).parents[1] / "pipeline"
RECIPE = PIPELINE / "search.yaml"


def test_a_worker_ends_what_a_killed_run_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    storage, out = tmp_path / "shared.journal", tmp_path / "run"
    changes = [f"steps.search.storage={storage}", "steps.search.study=digits"]
    recipe = tmp_path / "search.yaml"
    text = RECIPE.read_text().replace("search: {", f"search: {{storage: '{storage}', study: digits, ")
    recipe.write_text(text)
    subprocess.run(
        [
            sys.executable,
            str(PIPELINE / "killed_search.py"),
            "4",
            "-",
            "run",
            str(recipe),
            "--out",
            str(out),
            "--quiet",
        ],
        capture_output=True,
        timeout=240,
    )
    words = ("search", "worker", "--storage", storage, "--study", "digits", "--quiet")
    assert "The search is over: 15 candidates, best " in call(*words)

    def refuse(self: ViewEvaluator, *arguments: object, **options: object) -> object:
        raise AssertionError("all candidates are evaluated already")

    monkeypatch.setattr(ViewEvaluator, "__call__", refuse)
    record = run(load_recipe(RECIPE, changes), out, resume=True, quiet=True)
    assert record.steps[1].macs <= 0.5 * record.base_macs
    assert "15 candidates" in call(*words)  # after the run: nothing is left to do
    assert "The search is over" in call(*words, "--run", out)
    assert "holds no run" in call(*words, "--run", tmp_path / "elsewhere", code=1)
    assert "There is no study 'other'" in call(*words[:5], "other", code=1)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("worker", "--storage", "nowhere.db", "--study", "x"), 1, "There is no file nowhere.db"),
        (("master", "--storage", "nowhere.db", "--study", "x"), 2, "convslim search worker"),
        (("worker", "--storage", "nowhere.db"), 2, "--study"),
        (("worker", "--storage", "nothing://host/name", "--study", "x"), 1, "nothing://host/name, cannot be used"),
    ],
)
def test_errors(arguments: tuple[str, ...], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert message in call("search", *arguments, code=code)
    assert list(tmp_path.iterdir()) == []
