"""Class by class: what a detector finds, before and after, and its precision-recall curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from convslim.report.class_record import ClassRecord
from convslim.report.figures.axis import linear, percent
from convslim.report.figures.chart import Frame, dot, figure, line
from convslim.report.markup import element, joined, scrolled, table
from convslim.report.record import RunRecord, StepRecord
from convslim.report.run_files import RunFiles
from convslim.report.sections.section import Section

CURVES: Final = 6
"""Curves of one drawing."""


def classes(run: RunFiles) -> Section | None:
    """The section; a run that says nothing of classes has none."""
    told = [(number, step) for number, step in enumerate(run.record.steps, start=1) if step.classes]
    if not told:
        return None
    (first, before), (last, after) = told[0], told[-1]
    old = {each.name: each.average_precision for each in before.classes} if first != last else {}
    rows = [_row(each, old.get(each.name)) for each in after.classes]
    head = ["class", "objects", f"step {first}", f"step {last}", "change, points"]
    drawn = [_curves(run.record, after.classes[start : start + CURVES], last) for start in _starts(after.classes)]
    return Section(
        "classes",
        "Class by class",
        "Average precision of every class: the area under its precision-recall curve.",
        joined(
            [
                scrolled(table(head, rows), "Class by class"),
                element("div", *drawn, class_="charts spaced"),
                _coco(before, after, (f"step {first}", f"step {last}")),
            ]
        ),
    )


def _starts(found: Sequence[ClassRecord]) -> range:
    return range(0, len(found), CURVES)


def _coco(before: StepRecord, after: StepRecord, names: tuple[str, str]) -> Markup | None:
    """COCO's measures, where they were taken."""
    if not after.coco:
        return None
    old = before.coco or {}
    rows = [(name, _percent(old.get(name)), _percent(value)) for name, value in after.coco.items()]
    return joined([element("h3", "COCO's measures"), scrolled(table(["measure", *names], rows), "COCO's measures")])


def _row(each: ClassRecord, old: float | None) -> tuple[object, ...]:
    now = each.average_precision
    change = "–" if old is None or now is None else f"{100 * (now - old):+.2f}".replace("-", "−")
    return (each.name, f"{each.num_objects:,}", _percent(old), _percent(now), change)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"


def _curves(record: RunRecord, found: Sequence[ClassRecord], number: int) -> Markup:
    """Precision against recall."""
    frame = Frame(linear("recall", [0, 1], form=percent), linear("precision", [0, 1], form=percent))
    marks: list[Markup | None] = []
    for series, each in enumerate(found):
        points = list(zip(each.recall, each.precision, strict=True))
        marks.append(line(frame, series, points))
        marks += [
            dot(
                frame,
                series,
                x,
                y,
                f"{each.name}: precision {percent(round(y, 4))} at recall {percent(round(x, 4))}, "
                f"detections of {score:.3g} or more",
            )
            for (x, y), score in zip(points, each.scores, strict=True)
        ]
    return figure(
        f"Precision and recall, step {number} {record.steps[number - 1].kind}",
        frame.draw(*marks, label=f"Precision against recall of {', '.join(each.name for each in found)}"),
        names=[each.name for each in found],
        headings=["class", "average precision", "11 points", "objects"],
        rows=[
            (each.name, _percent(each.average_precision), _percent(each.eleven_point), f"{each.num_objects:,}")
            for each in found
        ],
    )
