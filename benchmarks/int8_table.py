"""The tables of `int8.py`, from what it and the run wrote down."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

Results = Mapping[str, Mapping[str, Any]]

DENSE, PRUNED, TRAINED = "original.onnx", "model.onnx", "model-int8.onnx"
TUNED, CALIBRATED, DENSE_INT8 = "tuned.onnx", "tuned-int8.onnx", "original-int8.onnx"
NNCF = "tuned-nncf.xml"
EAGER_DENSE, EAGER_PRUNED = "uncut, eager", "pruned, eager"

NAMES = {
    DENSE: "uncut, float32",
    DENSE_INT8: "uncut, int8 by calibration",
    PRUNED: "pruned, float32",
    CALIBRATED: "pruned, int8 by calibration",
    NNCF: "pruned, int8 by NNCF's calibration",
    TRAINED: "**pruned, int8 trained**",
    EAGER_DENSE: "uncut, float32",
    EAGER_PRUNED: "pruned, float32",
}


def results(out: Path) -> Results:
    """What earlier calls found, by stage."""
    path = out / "results.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {row["stage"]: row for row in map(json.loads, lines)}


def last_step(record: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The record of the last step of a kind."""
    found: dict[str, Any] = [step for step in record["steps"] if step["kind"] == kind][-1]
    return found


def tables(record: Mapping[str, Any], out: Path, file: Callable[[str], Path]) -> Iterator[str]:
    """Everything that there is: `file` says where a file is."""
    found = results(out)
    yield from (*facts(record), "", *accuracies(record, found, file), "", *latencies(found))


def facts(record: Mapping[str, Any]) -> Iterator[str]:
    """What the run did."""
    last = record["steps"][-1]
    costs = [f"{last[cost] / record[f'base_{cost}']:.1%} of {record[f'base_{cost}']:,}" for cost in ("macs", "params")]
    yield f"{record['name']}: {costs[0]} MACs and {costs[1]} parameters are left."
    for step in record["steps"]:
        correct = "–" if step["correct"] is None else f"{step['correct']:,} of {step['total']:,}"
        yield f"- {step['kind']}: {correct}, {step['seconds'] / 60:.0f} min"


def accuracies(record: Mapping[str, Any], found: Results, file: Callable[[str], Path]) -> Iterator[str]:
    """Float, simulated and file, with sizes."""
    done = last_step(record, "quantize")
    details = done["details"]
    first = next((step["correct"] for step in record["steps"] if step["kind"] == "evaluate"), None)
    yield "| network | float | simulated | file | kB |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    yield row(NAMES[DENSE], first, None, None, kilobytes(file(DENSE)))
    tuned = found.get(TUNED, {})
    for name, before in ((DENSE_INT8, first), (CALIBRATED, tuned.get("correct")), (NNCF, tuned.get("correct"))):
        each = found.get(name, {"skipped": "not measured yet"})
        if "skipped" in each:
            yield row(f"{NAMES[name]}: {each['skipped']}", None, None, None, None)
        else:
            yield row(NAMES[name], before, each.get("simulated"), each["correct"], round(each["bytes"] / 1000))
    inside = details["simulation"]["correct"]
    yield row(
        NAMES[TRAINED], details["float"]["correct"], inside, done["correct"], round(details["file"]["bytes"] / 1000)
    )


def kilobytes(path: Path) -> int | None:
    """Size of a file, if it is there."""
    return round(path.stat().st_size / 1000) if path.exists() else None


def row(name: str, *cells: int | None) -> str:
    """One row; empty where there is no number."""
    return f"| {name} | {' | '.join('' if cell is None else f'{cell:,}' for cell in cells)} |"


def latencies(found: Results) -> Iterator[str]:
    """10th percentiles; in brackets how many times as fast as the uncut float file in ONNX Runtime, and as eager."""
    settings = {stage: each for stage, each in found.items() if "rows" in each}
    if not settings:
        return
    yield f"| network | runtime | {' | '.join(settings)} |"
    yield f"| --- | --- |{' ---: |' * len(settings)}"
    times = {
        stage: {(row["name"], row["runtime"]): row["p10_ms"] for row in each["rows"]}
        for stage, each in settings.items()
    }
    for key in dict.fromkeys(key for each in times.values() for key in each):
        cells = [cell(each, key) for each in times.values()]
        yield f"| {NAMES[key[0]]} | {key[1]} | {' | '.join(cells)} |"
    one = next(iter(settings.values()))
    loads = ", ".join(f"{each['load']:.1f}" for each in settings.values() if each["load"] is not None)
    software = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
    yield ""
    yield f"{one['cpu']}, {os.cpu_count()} cores, load before each column {loads}; {software}."


def cell(times: dict[tuple[str, str], float], key: tuple[str, str]) -> str:
    """Milliseconds and both ratios."""
    if key not in times:
        return ""
    bases = [times.get((DENSE, "onnxruntime")), times.get((EAGER_DENSE, "eager"))]
    ratios = ", ".join("–" if base is None else f"{base / times[key]:.2f}×" for base in bases)
    return f"{times[key]:.3f} ({ratios})"
