"""`convslim inspect`: the table, its notes, JSON, and the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from convslim.cli import app
from convslim.report import GraphRecord, graph_page

NETS = """
from torch import nn


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.second = nn.Conv2d(8, 12, 3)
        self.third = nn.Conv2d(12, 4, 1)

    def forward(self, x):
        x = self.first(x).softmax(1)
        return self.third(self.second(x).cumsum(1))


class Plain(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 4, 1))
"""

CUMSUM = f"nets.py:{1 + NETS.splitlines().index('        return self.third(self.second(x).cumsum(1))')}"


def call(*arguments: object, code: int = 0, columns: int = 80) -> str:
    result = CliRunner().invoke(
        app, ["inspect", *(str(argument) for argument in arguments)], env={"COLUMNS": str(columns)}
    )
    assert result.exit_code == code, f"exit code {result.exit_code}: {result.output}"
    return result.output


@pytest.fixture
def small(tmp_path: Path) -> list[str]:
    (tmp_path / "nets.py").write_text(NETS)
    return [f"{tmp_path / 'nets.py'}:Small", "--input", "1,3,8,8"]


def test_table_has_every_group_with_its_cost(small: list[str]):
    rows = {line.split()[0]: line.split() for line in call("digits_cnn").splitlines() if line.strip()}
    assert rows["block3.expand"] == ["block3.expand", "192", "prunable", "–", "28", "%", "2", "1"]
    assert rows["fc"][2:4] == ["pinned", "[1]"]


def test_wide_terminals_name_the_layers():
    text = call("digits_cnn", columns=160)
    assert "block2.conv2, block2.downsample.0, block3.project" in text


def test_reasons_are_notes_with_the_line_of_the_user(small: list[str]):
    text = call(*small)
    assert "pinned: cumsum runs over the channels (1 group, 12 channels)" in text
    assert f"{CUMSUM}, aten.cumsum" in text
    assert "approximate: softmax runs over the channels (1 group, 8 channels)" in text
    assert "(1 group only approximately)" in text
    assert "A pruned model keeps its class: " in text


def test_constraints_are_notes(tmp_path: Path):
    (tmp_path / "nets.py").write_text(NETS)
    assert "bound: " in call(f"{tmp_path / 'nets.py'}:Plain", "--input", "1,3,8,8")


def test_pinned_lists_only_these(small: list[str]):
    text = call(*small, "--pinned")
    assert "second" in text
    assert "first" not in text
    assert "approximate:" not in text
    assert "1 of 3 groups and 8 of 24 channels are prunable" in text


def test_json_is_the_record(small: list[str]):
    record = GraphRecord.model_validate(json.loads(call(*small, "--json")))
    assert [group.state for group in record.groups] == ["approximate", "pinned", "pinned"]
    assert record.groups[1].pins[0].source == CUMSUM
    assert record.macs == sum(layer.macs for layer in record.layers)


@pytest.mark.parametrize("form", [[], ["--pinned"], ["--group", "first"]])
def test_page_is_written_and_its_path_printed(small: list[str], form: list[str], tmp_path: Path):
    page = tmp_path / "new" / "page.html"
    assert f"Page: {page}" in call(*small, *form, "--html", page)
    record = GraphRecord.model_validate_json(call(*small, "--json"))
    assert page.read_text(encoding="utf-8") == graph_page(record)
    assert [path.name for path in page.parent.iterdir()] == ["page.html"]


def test_json_stays_json_with_a_page(small: list[str], tmp_path: Path):
    arguments = ["inspect", *small, "--json", "--html", str(tmp_path / "page.html")]
    result = CliRunner().invoke(app, arguments)
    json.loads(result.stdout)
    assert "page.html" in result.stderr


def test_page_that_cannot_be_written_is_an_error(small: list[str], tmp_path: Path):
    (tmp_path / "folder").mkdir()
    text = call(*small, "--html", tmp_path / "folder", code=1)
    assert "cannot be written" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    "options", [["--json", "--pinned"], ["--json", "--group", "fc"], ["--pinned", "--group", "fc"]]
)
def test_forms_exclude_each_other(options: list[str]):
    assert "exclude" in call("digits_cnn", *options, code=2)
