"""The section of a search tells candidates by what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.report.run_samples import candidates, record, step, write

from convslim.report.run_files import read_run
from convslim.report.run_page import run_page


@pytest.mark.parametrize(("objective", "what"), [("accuracy", "mAP@0.5"), ("adjustable", "fitness")])
def test_candidates_of_a_detector_are_told_by_its_measure(tmp_path: Path, objective: str, what: str):
    found = [
        {**each, "correct": None, "total": 5, "value": 0.4, "fitness": [0.4 + 0.01 * place]}
        for place, each in enumerate(candidates())
    ]
    details = {"search": {"candidates": found, "best": "2.3", "front": [], "evaluated": 12}}
    judged = {"measure": "mAP@0.5", "value": 0.45, "total": 36}
    cut = {**step("search", 40_000, config={"objective": objective}, details=details), **judged}
    text = run_page(read_run(write(tmp_path / "run", record(name="boxes", steps=[cut])))).replace("\u00a0", " ")
    start = text.index("What the search tried")
    section = text[start : text.index("</section>", start)]
    assert "mAP@0.5 is of held-out training images" in section
    assert f"{what} against MACs of 12 candidates" in section.replace("Fitness", "fitness")
    assert f"Best and median {what} over 3 generations" in section
    assert f"generation 2: {what} 51 %" in section
    assert "5 images" in section
    assert "None" not in section
    assert " 100 right" not in section
    assert "ccuracy" not in section
