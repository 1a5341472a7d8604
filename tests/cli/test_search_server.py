"""`convslim search worker` on a PostgreSQL server: three of them, one killed, and the result of a run alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.test_search import facts
from tests.search.postgres import missing, server

from convslim.pipeline import load_recipe, run
from convslim.search.evaluation_views import ViewEvaluator

PIPELINE = Path(__file__).parents[1] / "pipeline"
RECIPE = PIPELINE / "search.yaml"
STUDY = "digits"


@pytest.mark.skipif(bool(missing()), reason=missing() or "a server can be had")
def test_three_workers_of_which_one_dies_find_what_a_run_alone_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    meeting, out = tmp_path / "meeting", tmp_path / "run"
    meeting.mkdir()
    alone = run(load_recipe(RECIPE, [f"steps.search.study={STUDY}"]), tmp_path / "alone", quiet=True)
    with server() as url:
        monkeypatch.setenv("SEARCH_STORAGE", url)
        recipe = tmp_path / "search.yaml"
        shared = f"search: {{storage: '${{SEARCH_STORAGE}}', study: {STUDY}, "
        recipe.write_text(RECIPE.read_text().replace("search: {", shared))
        begun = started(1, "-", "run", str(recipe), "--out", str(out), "--quiet")
        assert begun.wait(timeout=240) == -signal.SIGKILL
        worker = ("search", "worker", "--storage", "${SEARCH_STORAGE}", "--study", STUDY, "--quiet")
        workers = [started(death, str(meeting), *worker) for death in (2, 0, 0)]
        assert [each.wait(timeout=240) for each in workers] == [-signal.SIGKILL, 0, 0]

        def refuse(self: ViewEvaluator, *arguments: Any, **options: Any) -> Any:
            raise AssertionError("all candidates are evaluated already")

        monkeypatch.setattr(ViewEvaluator, "__call__", refuse)
        record = run(load_recipe(recipe), out, resume=True, quiet=True)
    assert facts(record) == facts(alone)
    assert record.steps[1].details["storage"] == "${SEARCH_STORAGE}"


def started(death: int, meeting: str, *command: str) -> subprocess.Popen[bytes]:
    """A process of convslim that dies at its so-manieth evaluation."""
    script = str(PIPELINE / "killed_search.py")
    return subprocess.Popen([sys.executable, script, str(death), meeting, *command], env=dict(os.environ))
