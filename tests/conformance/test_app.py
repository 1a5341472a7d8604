"""The command: tools in processes of their own, tables, exit codes, and mistakes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from convslim.conformance import CASES, Verdict, open_tool
from convslim.conformance.app import BEGIN, END, app
from convslim.conformance.worker import judge_apart
from convslim.errors import ModelError

REFUSING, DEADLY = ("tests.conformance.some_tools:refusing", "tests.conformance.some_tools:deadly")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_one_tool_on_some_cases(tmp_path: Path) -> None:
    page, verdicts = tmp_path / "page.md", tmp_path / "verdicts.json"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    result = run("--tool", REFUSING, "--only", "shortcut_*", "--json", str(verdicts), "--markdown", str(page))
    assert result.exit_code == 0, result.output
    assert f"{REFUSING}: 4 cases, 4 refused" in result.output
    assert len(json.loads(verdicts.read_text())["tools"][REFUSING]) == 4
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{BEGIN}\nDate ")
    assert text.endswith(f"{END}\nafter\n")
    assert "| `shortcut_b` |" in text
    assert "old" not in text


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing\n", encoding="utf-8")
    result = run("--tool", REFUSING, "--only", "plain", "--markdown", str(page))
    assert result.exit_code == 1
    assert "has no lines" in result.output
    assert page.read_text(encoding="utf-8") == "nothing\n"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("torch-prunning", "Did you mean 'torch-pruning'"),
        ("no_such_module:factory", "cannot be opened: No module named"),
        ("convslim.errors:factory", "cannot be opened: module"),
    ],
)
def test_mistakes_in_a_tool_s_name(spec: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        open_tool(spec)
    result = run("--tool", spec, "--only", "plain")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")


def test_a_tool_that_hangs_or_ends_the_process_loses_one_case() -> None:
    table = {case.name: case for case in CASES}
    cases = [table[name] for name in ("plain", "shortcut_b", "residual", "gate")]
    judgments = list(judge_apart(DEADLY, cases, limit=4))
    assert [judgment.verdict for judgment in judgments] == [
        Verdict.REFUSED,
        Verdict.CRASH,
        Verdict.TIMEOUT,
        Verdict.REFUSED,
    ]
    assert judgments[1].reason == "the process ended with exit code 3"
    assert judgments[2].reason == "no answer after 4 s"
