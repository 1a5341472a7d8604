"""How long the files take, and which of their layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from convslim.report.figures.chart import figure
from convslim.report.figures.ranges import Range, ranges
from convslim.report.markup import bar, breakable, element, joined, scrolled, table
from convslim.report.record import LatencyRecord, StepRecord
from convslim.report.run_files import ORIGINAL, RunFiles
from convslim.report.sections.section import Section


def latency(run: RunFiles) -> Section | None:
    """The section; a run that measured no latency has none."""
    charts = [
        chart
        for number, step in enumerate(run.record.steps, start=1)
        for chart in _charts(step, f"{number} {step.kind}")
    ]
    promises = [text for step in run.record.steps if (text := _promise(step)) is not None]
    if not charts and not promises:
        return None
    profiles = [part for step in run.record.steps for part in _profiles(step)]
    machine = run.record.machine
    return Section(
        "latency",
        "Latency",
        f"Median of all calls, with the 10th to 90th percentile, on {machine.cpu} ({machine.cores} cores). Files are "
        "timed in turn, so that other work on the machine hits all alike.",
        joined([*promises, element("div", *charts, class_="charts"), *profiles]),
    )


def _charts(step: StepRecord, name: str) -> Iterator[Markup]:
    """One chart a batch size and number of threads."""
    settings = dict.fromkeys((each.batch, each.threads) for each in step.latency)
    for batch, threads in settings:
        rows = [each for each in step.latency if (each.batch, each.threads) == (batch, threads)]
        first = next((each for each in rows if each.name in ("before", ORIGINAL)), rows[0])
        setting = f"batch {batch}, {threads} thread{'s' if threads > 1 else ''}"
        yield figure(
            f"Latency, {setting}, step {name}",
            ranges([_range(each, first) for each in rows], "ms a call"),
            headings=["file", "median, ms", "10th–90th percentile", "speed-up", "images/s"],
            rows=[_cells(each, first) for each in rows],
            note=f"{rows[0].repeats} calls each",
        )


def _range(each: LatencyRecord, first: LatencyRecord) -> Range:
    words = f"{each.name}: {each.median_ms:.3g} ms ({each.p10_ms:.3g}–{each.p90_ms:.3g})"
    if each is not first:
        words += f", {first.median_ms / each.median_ms:.2f}× as fast as {first.name}"
    return Range(each.name, 5 if each is first else 0, each.p10_ms, each.median_ms, each.p90_ms, words)


def _cells(each: LatencyRecord, first: LatencyRecord) -> tuple[str, ...]:
    return (
        each.name,
        f"{each.median_ms:.3g}",
        f"{each.p10_ms:.3g}–{each.p90_ms:.3g}",
        "–" if each is first else f"{first.median_ms / each.median_ms:.2f}×",
        f"{1000 * each.batch / each.median_ms:,.0f}",
    )


def _promise(step: StepRecord) -> Markup | None:
    """What a budget of latency asked for, and what was measured on the whole network."""
    found = step.details.get("latency")
    if not isinstance(found, Mapping) or "asked_ms" not in found:
        return None
    words = f"Asked for: {found['asked_ms']:.3g} ms; expected of the plan: {found.get('predicted_ms', 0):.3g} ms"
    if found.get("kept") is None:
        return element("p", f"{words}.")
    return element("p", f"{words}; measured, and {'kept' if found['kept'] else 'missed by more than 5 %'}.")


def _profiles(step: StepRecord) -> Iterator[Markup]:
    """Every kernel of every file, in the order in which they run."""
    profiles = step.details.get("profiles")
    if not isinstance(profiles, Mapping):
        return
    for name, kernels in profiles.items():
        if kernels:
            title = f"{name}, layer by layer"
            yield element("details", element("summary", title), scrolled(_profile(kernels), title), class_="fold")


def _profile(kernels: Sequence[Mapping[str, Any]]) -> Markup:
    total = sum(float(kernel["ms"]) for kernel in kernels) or 1.0
    most = max(float(kernel["ms"]) for kernel in kernels) or 1.0
    integer = sum(float(kernel["ms"]) for kernel in kernels if kernel.get("integer"))
    rows = [
        (
            breakable(str(kernel.get("layer") or kernel["node"])),
            str(kernel["operation"]),
            "int8" if kernel.get("integer") else str(kernel.get("input_type", "")),
            "×".join(map(str, kernel.get("output_shape", ()))),
            f"{kernel['ms']:.4f}",
            f"{100 * float(kernel['ms']) / total:.1f} %",
            bar(float(kernel["ms"]) / most),
        )
        for kernel in kernels
    ]
    caption = f"{len(kernels)} kernels, {total:.3g} ms; {100 * integer / total:.0f} % of the time in integers"
    return table(["layer", "kernel", "type", "output", "ms", "share", ""], rows, caption=caption, texts=4, drawn=True)
