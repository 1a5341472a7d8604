"""Latencies and profiles for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from convslim.measure.bench import Bench, Row
from convslim.measure.kernels import CONVERSIONS, Kernel


def setting(result: Bench) -> str:
    """What was measured with, in one line."""
    first = result.rows[0].latency
    name, runtime = result.baseline
    machine = f"{result.cpu}, {_counted(first.threads, 'thread')}, {_counted(first.repeats, 'call')}"
    return f"{machine}; speed-ups against {name} in {runtime}"


def bench_tables(result: Bench) -> Iterator[Table]:
    """One table for every batch size, one row for every measurement."""
    for batch in dict.fromkeys(row.latency.batch for row in result.rows):
        table = Table(title=f"batch {batch}", title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
        table.add_column("", overflow="fold")
        table.add_column("runtime", no_wrap=True)
        for heading in ("median ms (p10–p90)", "images/s", "speed-up", "of p10"):
            table.add_column(heading, justify="right", no_wrap=True)
        for row in result.rows:
            if row.latency.batch == batch:
                table.add_row(Text(row.name), row.runtime, *_cells(row))
        yield table


def _cells(row: Row) -> Iterator[str]:
    latency = row.latency
    yield f"{latency.median_ms:.3g} ({latency.p10_ms:.3g}–{latency.p90_ms:.3g})"
    yield f"{latency.throughput:,.0f}"
    for ratio in (row.speedup, row.speedup_p10):
        yield "–" if ratio is None else f"{ratio:.2f}×"


def profile_lines(name: str, kernels: Sequence[Kernel], batch: int) -> Iterator[str]:
    """Every kernel with its time, and how much runs in integers."""
    total = sum(kernel.ms for kernel in kernels)
    width = max(len(kernel.layer or kernel.node) for kernel in kernels)
    kind = max(len(kernel.operation) for kernel in kernels)
    yield f"{name}, batch {batch}: {len(kernels)} kernels in ONNX Runtime, in the order in which they run"
    for kernel in kernels:
        shape, name = "×".join(map(str, kernel.output_shape)), kernel.layer or kernel.node
        yield (
            f"  {name:{width}}  {kernel.operation:{kind}}  {kernel.input_type:7}  {kernel.ms:8.4f} ms "
            f"{kernel.ms / total:6.1%}  {shape}"
        )
    layers = [kernel for kernel in kernels if kernel.is_layer]
    integer = [kernel for kernel in layers if kernel.integer]
    yield (
        f"  {len(integer)} of {_counted(len(layers), 'layer')} run in integers, "
        f"{sum(kernel.ms for kernel in kernels if kernel.integer) / total:.0%} of the time of all kernels; "
        f"{sum(kernel.ms for kernel in kernels if kernel.operation in CONVERSIONS) / total:.0%} goes into conversions."
    )
    if integer and len(integer) < len(layers):
        left = ", ".join(kernel.layer or kernel.node for kernel in layers if not kernel.integer)
        yield f"  in float: {left}"


def _counted(number: int, word: str) -> str:
    """
    >>> _counted(1, "layer"), _counted(2, "layer")
    ('1 layer', '2 layers')
    """
    return f"{number} {word}{'' if number == 1 else 's'}"
