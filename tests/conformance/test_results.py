"""Outcomes as data and as tables."""

from pathlib import Path

import pytest

from convslim.conformance import FAMILIES, Judgment, Verdict
from convslim.conformance.results import Results, setting
from convslim.conformance.tables import for_terminal, markdown, summary
from convslim.errors import ArtifactError

RIGHT, WRONG = Judgment(Verdict.EXACT), Judgment(Verdict.WRONG, "output 0 differs")
ONE = Results({"own": {"plain": RIGHT, "concat": RIGHT}}, {"date": "2026-11-22", "torch": "2.13.0"})
TWO = Results({"own": {"plain": RIGHT, "residual": RIGHT}, "other": {"plain": WRONG, "residual": RIGHT}}, {})


def test_counts() -> None:
    assert ONE.counts("own") == {Verdict.EXACT: 2}
    assert ONE.counts("own", "sums and products") == {Verdict.EXACT: 1}
    assert TWO.counts("other") == {Verdict.EXACT: 1, Verdict.WRONG: 1}
    assert not ONE.failed
    assert TWO.failed


def test_json_goes_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.json"
    path.write_text(TWO.to_json(), encoding="utf-8")
    assert Results.load(path) == TWO


@pytest.mark.parametrize("text", ["", "[]", '{"tools": {"own": {"plain": {"verdict": "splendid"}}}}'])
def test_something_else_is_no_record(tmp_path: Path, text: str) -> None:
    path = tmp_path / "verdicts.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"verdicts\.json is no record of a conformance run"):
        Results.load(path)


def test_setting_holds_the_day_and_versions() -> None:
    assert set(setting()) == {"date", "python", "convslim", "torch", "torch-pruning"}


def test_markdown() -> None:
    text = markdown(ONE)
    assert text.startswith("Date 2026-11-22, torch 2.13.0.\n")
    assert "| sums and products | 1 | 1 |\n| concatenations | 1 | 1 |\n| all | 2 | 2 |\n" in text
    lines = markdown(TWO).splitlines()
    plain = FAMILIES["sums and products"][0]
    assert f"| `plain` | {plain.hard} | exact | **wrong** |" in lines
    assert "| all | 2 | 1 | 1 |" in lines


def test_summary_and_table_for_the_terminal() -> None:
    assert summary(TWO).splitlines() == ["own: 2 cases, 2 exact", "other: 2 cases, 1 exact, 1 wrong"]
    assert for_terminal(TWO).row_count == 2
    assert [column.header for column in for_terminal(TWO).columns] == ["case", "own", "other", "what makes it hard"]
    assert [column.header for column in for_terminal(ONE).columns] == ["case", "own", "why"]
