"""What channels were worth, and where the cut went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from convslim.report.figures.histogram import binned, histogram
from convslim.report.markup import element
from convslim.report.record import StepRecord
from convslim.report.run_files import RunFiles
from convslim.report.sections.section import Section


def scores(run: RunFiles) -> Section | None:
    """The section."""
    charts = [
        chart
        for number, step in enumerate(run.record.steps, start=1)
        for draw in (_scales, _factors, _scored, _coefficients)
        for chart in draw(step, f"{number} {step.kind}")
    ]
    if not charts:
        return None
    return Section(
        "scores",
        "What channels were worth",
        "The more the channels that went stand apart from those that stayed, the less the cut has cost. Widths are "
        "multiples, and groups keep a share of their channels, so that some go or stay across the threshold.",
        element("div", *charts, class_="charts"),
    )


def _scales(step: StepRecord, name: str) -> Iterator[Markup]:
    """BatchNorm scales at the end of sparse training."""
    found = step.details.get("scales")
    if isinstance(found, Mapping):
        yield _drawn(found, f"BatchNorm scales |γ|, step {name}", "|γ|", note="of channels that the penalty presses on")


def _factors(step: StepRecord, name: str) -> Iterator[Markup]:
    """Mean factors of relation modules."""
    gfr = step.details.get("gfr")
    factors = gfr.get("factors") if isinstance(gfr, Mapping) else None
    if isinstance(factors, Mapping) and factors:
        edges, counts = binned(value for values in factors.values() for value in values)
        yield histogram(
            f"Relation factors, step {name}",
            "mean factor of a channel",
            edges,
            {"": counts},
            note=f"of {len(factors)} relation modules, averaged over training images",
        )


def _scored(step: StepRecord, name: str) -> Iterator[Markup]:
    """Scores by the criterion of a cut."""
    found = step.details.get("scores")
    if isinstance(found, Mapping):
        at = step.details.get("threshold") if step.config.get("allocation", "global") == "global" else None
        yield _drawn(
            found,
            f"Scores, step {name}",
            f"score by {step.config.get('criterion', 'the criterion')}",
            mark=None if at is None else (float(at), "threshold"),
            note="of channels of the groups that could be cut",
        )


def _coefficients(step: StepRecord, name: str) -> Iterator[Markup]:
    """Trained coefficients of self-selection."""
    rounds = step.details.get("rounds")
    for turn, each in enumerate(rounds if isinstance(rounds, list) else [], start=1):
        if isinstance(each, Mapping) and isinstance(found := each.get("coefficients"), Mapping):
            yield _drawn(found, f"Coefficients, step {name}", "coefficient", note=f"at hard cut {turn}")


def _drawn(
    found: Mapping[str, Any], title: str, label: str, *, mark: tuple[float, str] | None = None, note: str
) -> Markup:
    return histogram(title, label, found["edges"], found["counts"], mark=mark, note=note)
