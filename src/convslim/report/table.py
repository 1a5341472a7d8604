"""A run as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from convslim.report.record import LatencyRecord, RunRecord, StepRecord


def run_table(record: RunRecord) -> Group:
    """What a run did, step by step, and what it gained: a renderable for a rich console."""
    tables = [_steps_table(record)]
    latencies = [latency for step in record.steps if step.kind != "bench" for latency in step.latency]
    if latencies:
        tables.append(_latency_table(latencies))
    tables += [_bench_table(step) for step in record.steps if step.kind == "bench" and step.latency]
    return Group(*tables)


def _steps_table(record: RunRecord) -> Table:
    title = f"{record.name} (seed {record.seed}); % of the network before the first step"
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("step", no_wrap=True)
    measures = [step.measure for step in record.steps if step.measured is not None] or ["accuracy"]
    of = "correct" if measures[0] == "accuracy" else "images"
    for heading in (measures[0], of, "MACs", "%", "params", "%", "s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for number, step in enumerate(record.steps, start=1):
        table.add_row(f"{number} {step.kind}", *_cells(step, record))
    return table


def _cells(step: StepRecord, record: RunRecord) -> Iterator[str]:
    yield "–" if step.measured is None else f"{100 * step.measured:.2f} %"
    yield step.images
    yield f"{step.macs:,}"
    yield f"{100 * step.macs / record.base_macs:.1f}"
    yield f"{step.params:,}"
    yield f"{100 * step.params / record.base_params:.1f}"
    yield f"{step.seconds:.1f}"


def _latency_table(latencies: list[LatencyRecord]) -> Table:
    """Rows: one per batch size and number of threads, before against after."""
    title = "ONNX Runtime, float32, CPU: median ms (10th–90th percentile)"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for heading in ("batch", "threads", "before", "after", "speed-up"):
        table.add_column(heading, justify="right")
    by_setting: dict[tuple[int, int], dict[str, LatencyRecord]] = {}
    for latency in latencies:
        by_setting.setdefault((latency.batch, latency.threads), {})[latency.name] = latency
    for (batch, threads), named in by_setting.items():
        if {"before", "after"} <= named.keys():
            before, after = named["before"], named["after"]
            ratio = f"{before.median_ms / after.median_ms:.2f}×"
            table.add_row(str(batch), str(threads), _milliseconds(before), _milliseconds(after), ratio)
    return table


def _bench_table(step: StepRecord) -> Table:
    """Rows: one per file, batch size and number of threads; the speed-ups are those of the record."""
    name, runtime = step.details["baseline"]
    title = f"Latency, median ms (10th–90th percentile); speed-ups against {name} in {runtime}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    table.add_column("file", overflow="fold")
    for heading in ("batch", "threads", "ms", "speed-up"):
        table.add_column(heading, justify="right")
    for latency, row in zip(step.latency, step.details["rows"], strict=True):
        ratio = "–" if row["speedup"] is None else f"{row['speedup']:.2f}×"
        table.add_row(Text(latency.name), str(latency.batch), str(latency.threads), _milliseconds(latency), ratio)
    return table


def _milliseconds(latency: LatencyRecord) -> str:
    return f"{latency.median_ms:.3g} ({latency.p10_ms:.3g}–{latency.p90_ms:.3g})"
