"""`RunRecord` survives JSON and names no computer; the tables show what it holds."""

from __future__ import annotations

import io
import platform
from pathlib import Path

import pytest
from rich.console import Console

from convslim.errors import ArtifactError
from convslim.report import LatencyRecord, Machine, RunRecord, StepRecord, run_table, versions


def latency(name: str, median: float) -> LatencyRecord:
    return LatencyRecord(
        name=name, batch=1, threads=1, repeats=9, median_ms=median, p10_ms=median, p90_ms=median, min_ms=median
    )


@pytest.fixture
def record() -> RunRecord:
    first = StepRecord(
        kind="train", config={"lr": 0.1}, seconds=1.5, macs=100, params=50, correct=9, total=10, loss=0.3
    )
    last = StepRecord(
        kind="export", config={}, seconds=0.5, macs=40, params=20, latency=(latency("before", 2), latency("after", 0.5))
    )
    return RunRecord(
        name="demo",
        seed=3,
        recipe={"name": "demo"},
        versions=versions(),
        machine=Machine.here(),
        base_macs=100,
        base_params=50,
        steps=(first, last),
    )


def test_record_survives_its_file(record: RunRecord, tmp_path: Path):
    record.save(tmp_path / "record.json")
    assert RunRecord.load(tmp_path / "record.json") == record
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]


def test_record_names_versions_and_cpu_but_no_host(record: RunRecord):
    assert {"python", "convslim", "torch", "onnxruntime"} <= record.versions.keys()
    assert record.machine.cpu
    assert "host" not in record.model_dump_json(include={"machine"})
    assert set(record.machine.model_dump()) == {"cpu", "cores", "system", "python", "accelerator"}
    assert record.machine.python == platform.python_version()


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"name": "x", "extra": 1}'])
def test_damaged_record_is_named(tmp_path: Path, content: str):
    (tmp_path / "record.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"record\.json"):
        RunRecord.load(tmp_path / "record.json")


def test_missing_record_is_named(tmp_path: Path):
    with pytest.raises(ArtifactError, match="Cannot read the run record"):
        RunRecord.load(tmp_path / "none.json")


def test_tables_show_accuracy_cost_and_speed(record: RunRecord):
    console = Console(width=120, file=io.StringIO())
    with console.capture() as capture:
        console.print(run_table(record))
    text = capture.get()
    for expected in ("90.00 %", "9/10", "40.0", "20", "4.00×", "–"):
        assert expected in text
