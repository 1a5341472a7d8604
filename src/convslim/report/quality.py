"""How good a network was after a step: what the task measures, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass

from convslim.measure.interval import wilson
from convslim.report.record import RunRecord, StepRecord


@dataclass(frozen=True)
class Quality:
    """One evaluation.

    Attributes:
        number: The step's number, from 1.
        step: The step.
        share: What was measured, 0…1.
        low, high: The 95 % interval of an accuracy, see :func:`convslim.measure.interval.wilson`; of other measures the
            share itself.
        counts: What was counted, in words.
    """

    number: int
    step: StepRecord
    share: float
    low: float
    high: float
    counts: str

    @property
    def text(self) -> str:
        """The share as a person reads it."""
        return f"{100 * self.share:.2f}\u00a0%"

    @property
    def interval(self) -> str:
        """The interval as a person reads it, a dash where there is none."""
        return "–" if self.low == self.high else f"{100 * self.low:.2f}–{100 * self.high:.2f}\u00a0%"

    @property
    def name(self) -> str:
        """The step, by number and kind."""
        return f"{self.number} {self.step.kind}"


def qualities(record: RunRecord) -> list[Quality]:
    """All evaluations of a run, in order."""
    return [
        _quality(number, step, step.measured)
        for number, step in enumerate(record.steps, start=1)
        if step.measured is not None
    ]


def _quality(number: int, step: StepRecord, share: float) -> Quality:
    if step.correct is None or not step.total:
        return Quality(number, step, share, share, share, f"{step.images} test images")
    low, high = wilson(step.correct, step.total)
    return Quality(number, step, share, low, high, f"{step.correct:,} of {step.total:,} right")


def before_cut(record: RunRecord) -> Quality | None:
    """The first evaluation, if channels were still whole."""
    first = next(iter(qualities(record)), None)
    return None if first is None or first.step.macs < record.base_macs else first


def measure_of(record: RunRecord) -> str:
    """What the run's task measures: accuracy, unless its steps say otherwise."""
    return next((step.measure for step in record.steps if step.measured is not None), "accuracy")


def titled(measure: str) -> str:
    """A measure at the head of a title.

    >>> titled("accuracy"), titled("mAP")
    ('Accuracy', 'mAP')
    """
    return measure.capitalize() if measure.islower() else measure
