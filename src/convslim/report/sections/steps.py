"""What every step did: accuracy against cost, and the numbers step by step."""

from __future__ import annotations

from typing import Final

from markupsafe import Markup

from convslim.report.figures.axis import counting, linear, percent
from convslim.report.figures.chart import Frame, figure, line, point, spread
from convslim.report.markup import element, joined, scrolled, table
from convslim.report.quality import Quality, measure_of, qualities, titled
from convslim.report.record import RunRecord, StepRecord
from convslim.report.run_files import RunFiles
from convslim.report.sections.headline import duration
from convslim.report.sections.section import Section

LETTER: Final = 6.9
"""Width of a letter in a drawing."""


def steps(run: RunFiles) -> Section | None:
    """The section."""
    if not run.record.steps:
        return None
    found = qualities(run.record)
    drawn = (
        element("div", _trade(found, run.record), _by_step(found, run.record), class_="charts")
        if len(found) > 1
        else None
    )
    return Section(
        "steps",
        "Step by step",
        "Percentages of MACs and parameters are of the network before the first step.",
        joined([drawn, _table(run.record)]),
    )


def _trade(found: list[Quality], record: RunRecord) -> Markup:
    """The measure against MACs, through the steps."""
    measure = measure_of(record)
    share = [quality.step.macs / record.base_macs for quality in found]
    frame = Frame(
        linear("MACs, % of the original", [0, 1, *share], form=percent, zero=True, tight=True),
        linear(measure, [end for each in found for end in (each.low, each.high)], form=percent, within=(0, 1)),
    )
    marks = _way(frame, found, share, [f" at {100 * x:.1f} % of the MACs" for x in share])
    return figure(
        f"{titled(measure)} against cost",
        frame.draw(*marks, label=f"{titled(measure)} against MACs after {len(found)} steps"),
        headings=["step", "MACs, %", measure, "95 % interval"],
        rows=[(each.name, f"{100 * x:.1f}", each.text, each.interval) for x, each in zip(share, found, strict=True)],
        note=_note(found),
    )


def _by_step(found: list[Quality], record: RunRecord) -> Markup:
    """The measure after every step that was evaluated."""
    measure = measure_of(record)
    frame = Frame(
        counting("step", found[-1].number),
        linear(measure, [end for each in found for end in (each.low, each.high)], form=percent, within=(0, 1)),
    )
    marks = _way(frame, found, [float(each.number) for each in found], ["" for _ in found])
    return figure(
        f"{titled(measure)} step by step",
        frame.draw(*marks, label=f"{titled(measure)} after each of {len(found)} steps"),
        headings=["step", measure, "images"],
        rows=[(each.name, each.text, each.step.images) for each in found],
        note=_note(found),
    )


def _note(found: list[Quality]) -> str:
    sure = any(each.low < each.high for each in found)
    return "on the test images, with 95 % intervals" if sure else "on the test images"


def _way(frame: Frame, found: list[Quality], places: list[float], more: list[str]) -> list[Markup | None]:
    """From evaluation to evaluation, each with its interval and, where there is room, its name."""
    ways = [(x, each.share) for x, each in zip(places, found, strict=True)]
    marks: list[Markup | None] = [line(frame, 5, ways)]
    for x, each, words in zip(places, found, more, strict=True):
        marks.append(spread(frame, 0, x, each.low, each.high))
        marks.append(point(frame, 0, x, each.share, f"{each.name}: {each.text} ({each.counts}){words}"))
    return [*marks, *_labels(frame, ways, found)]


def _labels(frame: Frame, places: list[tuple[float, float]], found: list[Quality]) -> list[Markup]:
    """Numbers and kinds beside the points, as far as they do not lie on each other."""
    taken: list[tuple[float, float, float]] = []
    labels = []
    for place, quality in reversed(list(zip(places, found, strict=True))):
        x, y = frame.at(*place)
        left, wide = x > frame.width * 0.62, 12 + LETTER * len(quality.name)
        begin, end = (x - wide, x + 6) if left else (x - 6, x + wide)
        if any(begin < right and end > start and abs(y - height) < 13 for start, right, height in taken):
            continue
        taken.append((begin, end, y))
        side = "end" if left else "start"
        labels.append(element("text", quality.name, x=x + (-9 if left else 9), y=y + 4, class_=f"name {side}"))
    return labels


def _table(record: RunRecord) -> Markup:
    headings = ["step", measure_of(record), "images", "loss", "MACs", "%", "parameters", "%", "time"]
    rows = [(f"{number} {step.kind}", *_cells(step, record)) for number, step in enumerate(record.steps, start=1)]
    return scrolled(table(headings, rows), "Steps")


def _cells(step: StepRecord, record: RunRecord) -> tuple[str, ...]:
    return (
        "–" if step.measured is None else f"{100 * step.measured:.2f}\u00a0%",
        step.images,
        "–" if step.loss is None else f"{step.loss:.4f}",
        f"{step.macs:,}",
        f"{100 * step.macs / record.base_macs:.1f}",
        f"{step.params:,}",
        f"{100 * step.params / record.base_params:.1f}",
        duration(step.seconds),
    )
