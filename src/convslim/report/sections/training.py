"""Training curves of all trainings of a run, one behind the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from convslim.report.figures.axis import counting, linear, number, percent
from convslim.report.figures.chart import Frame, band, dot, figure, line, point
from convslim.report.markup import element
from convslim.report.run_files import RunFiles
from convslim.report.sections.section import Section

Epoch = Mapping[str, Any]

MANY: Final = 24
"""Epochs from which only the line is seen, and points only where they are pointed at."""


@dataclass(frozen=True)
class _Training:
    """One training.

    Attributes:
        name: Its step.
        before: Epochs of the trainings before it.
        epochs: Its metrics.
    """

    name: str
    before: int
    epochs: tuple[Epoch, ...]


@dataclass(frozen=True)
class _Panel:
    """One chart: keys of the epochs' metrics by name of the curve."""

    title: str
    curves: Mapping[str, str]
    form: Callable[[float], str] = number
    within: tuple[float, float] = (float("-inf"), float("inf"))


PANELS: Final = (
    _Panel("Accuracy", {"training": "train_accuracy", "test": "test_accuracy"}, percent, (0, 1)),
    _Panel("mAP", {"test": "test_map"}, percent, (0, 1)),
    _Panel("Loss", {"training": "train_loss", "test": "test_loss"}, within=(0, float("inf"))),
    _Panel("Penalty", {"penalty": "penalty"}),
    _Panel("Guidance by the teacher", {"guidance": "guidance"}),
    _Panel("Learning rate", {"learning rate": "lr"}, within=(0, float("inf"))),
)


def training(run: RunFiles) -> Section | None:
    """The section."""
    found = list(_trainings(run))
    if not found:
        return None
    charts = [chart for panel in PANELS if (chart := _chart(panel, found)) is not None]
    total = sum(len(each.epochs) for each in found)
    seconds = sum(float(epoch.get("seconds") or 0) for each in found for epoch in each.epochs)
    return Section(
        "training",
        "Training",
        f"{total} epochs in {len(found)} trainings, {seconds:,.0f} s without evaluations. Training accuracy is of "
        "augmented images, while the network changes; test images are only looked at, never used to decide.",
        element("div", *charts, class_="charts"),
    )


def _trainings(run: RunFiles) -> Iterator[_Training]:
    before = 0
    for place, step in enumerate(run.record.steps, start=1):
        epochs = step.details.get("epochs")
        if isinstance(epochs, list) and epochs:
            yield _Training(f"{place} {step.kind}", before, tuple(epochs))
            before += len(epochs)


def _chart(panel: _Panel, found: list[_Training]) -> Markup | None:
    """A chart of what the epochs tell of; None where they do not."""
    values = [value for each in found for key in panel.curves.values() for _, value in _points(each, key)]
    if not values:
        return None
    total = found[-1].before + len(found[-1].epochs)
    across = counting("epoch", total)
    frame = Frame(across, linear("", values, form=panel.form, within=panel.within, zero=panel.form is number))
    marks = [
        mark
        for series, (name, key) in enumerate(panel.curves.items())
        for each in found
        for mark in _curve(frame, series, each, name, key, panel, dotted=total > MANY)
    ]
    return figure(
        panel.title,
        frame.draw(*marks, label=f"{panel.title} over {total} epochs", under=_bands(frame, found)),
        names=list(panel.curves) if len(panel.curves) > 1 else (),
        headings=["step", "epoch", *panel.curves],
        rows=_rows(panel, found),
        note=", ".join(each.name for each in found),
    )


def _points(each: _Training, key: str) -> list[tuple[float, float]]:
    """Epochs of the run and values, where there are some."""
    return [
        (float(each.before + place), float(epoch[key]))
        for place, epoch in enumerate(each.epochs, start=1)
        if epoch.get(key) is not None
    ]


def _curve(
    frame: Frame, series: int, each: _Training, name: str, key: str, panel: _Panel, *, dotted: bool
) -> Iterator[Markup | None]:
    points = _points(each, key)
    yield line(frame, series, points)
    draw = dot if dotted else point
    for x, y in points:
        yield draw(frame, series, x, y, f"{each.name}, epoch {x - each.before:.0f}: {name} {panel.form(round(y, 6))}")


def _bands(frame: Frame, found: list[_Training]) -> Iterator[Markup]:
    """Every second training on a darker ground."""
    for turn, each in enumerate(found):
        if turn % 2:
            last = each.before + len(each.epochs)
            yield band(frame, each.before + 0.5, min(last + 0.5, frame.x.high))


def _rows(panel: _Panel, found: list[_Training]) -> Iterator[tuple[str, ...]]:
    for each in found:
        for place, epoch in enumerate(each.epochs, start=1):
            cells = (epoch.get(key) for key in panel.curves.values())
            yield (
                each.name,
                str(place),
                *("–" if value is None else panel.form(round(float(value), 6)) for value in cells),
            )
