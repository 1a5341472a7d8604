"""Class by class: what became of a classifier's answers, and what it takes for what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from markupsafe import Markup

from convslim.measure.interval import paired_change, wilson
from convslim.report.class_record import ConfusionRecord
from convslim.report.figures.changes import changes
from convslim.report.figures.chart import figure
from convslim.report.figures.heat_map import HeatMap, heat_map
from convslim.report.figures.ranges import Range
from convslim.report.markup import element, scrolled, table
from convslim.report.run_files import RunFiles
from convslim.report.sections.section import Section

DRAWN: Final = 100
"""Classes up to which the whole matrix is drawn."""
SHOWN: Final = 15
"""Classes at each end of the order that are drawn where there are many."""
LISTED: Final = 20
"""Confusions that are listed where there are many classes."""

Told = tuple[int, str, ConfusionRecord]


def confusions(run: RunFiles) -> Section | None:
    """The section; a run that says nothing of a classifier's classes has none."""
    steps = enumerate(run.record.steps, start=1)
    told = [(number, step.kind, step.confusion) for number, step in steps if step.confusion is not None]
    if not told:
        return None
    last = told[-1]
    before = next((each for each in told if each[0] == last[2].since), None)
    matrices = [_matrix(each) for each in (before, last) if each is not None]
    lead = f"Answers to the test images after step {last[0]} {last[1]}"
    if before is not None:
        lead += (
            f", beside those of the whole network after step {before[0]} {before[1]}. The same images were judged both "
            "times, so that the intervals of changes are those of pairs"
        )
    return Section(
        "confusions",
        "Class by class",
        f"{lead}.",
        element("div", *matrices, _rates(before, last), _table(before, last), class_="charts"),
    )


def _order(found: ConfusionRecord) -> list[int]:
    """Classes that have images: the largest loss first, or the lowest accuracy where nothing is compared."""
    there = [label for label, total in enumerate(found.totals) if total]
    if found.since is None:
        return sorted(there, key=lambda label: found.right[label] / found.totals[label])
    return sorted(there, key=lambda label: (found.won[label] - found.lost[label]) / found.totals[label])


def _rates(before: Told | None, last: Told) -> Markup | None:
    """What every class lost or won."""
    found = last[2]
    if before is None or found.since is None:
        return None
    order = _order(found)
    shown = order if len(order) <= 2 * SHOWN else [*order[:SHOWN], *order[-SHOWN:]]
    part = "" if len(shown) == len(order) else f", the first and last {SHOWN} of {len(order)} classes"
    return figure(
        "Change by class",
        changes([_change(found, label) for label in shown], "change, points"),
        headings=["class", "images", "right then, wrong now", "wrong then, right now", "change, points", "95 %"],
        rows=[
            (
                found.names[label],
                f"{found.totals[label]:,}",
                found.lost[label],
                found.won[label],
                *_points(found, label),
            )
            for label in order
        ],
        note=f"from step {before[0]} to step {last[0]}, with 95 % intervals of paired answers{part}",
    )


def _change(found: ConfusionRecord, label: int) -> Range:
    lost, won, total = found.lost[label], found.won[label], found.totals[label]
    low, high = (100 * end for end in paired_change(lost, won, total))
    middle = 100 * (won - lost) / total
    series = 1 if high < 0 else 2 if low > 0 else 0
    points, interval = _points(found, label)
    words = f"{found.names[label]}: {points} points ({interval}); {lost} lost, {won} won of {total:,} images"
    return Range(found.names[label], series, min(low, middle), middle, max(high, middle), words)


def _points(found: ConfusionRecord, label: int) -> tuple[str, str]:
    lost, won, total = found.lost[label], found.won[label], found.totals[label]
    low, high = paired_change(lost, won, total)
    return _signed(100 * (won - lost) / total), f"{_signed(100 * low)} to {_signed(100 * high)}"


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "−")


def _matrix(each: Told) -> Markup:
    """The confusion matrix after a step; of many classes the most frequent confusions."""
    number, kind, found = each
    size = max([len(found.names), *(answer + 1 for _, answer, _ in found.pairs)])
    title = f"Confusions, step {number} {kind}"
    rows = [(found.name(label), found.name(answer), f"{count:,}") for label, answer, count in found.pairs]
    head = ["class", "taken for", "images"]
    if size > DRAWN:
        body = scrolled(table(head, rows[:LISTED], texts=2), title)
        caption = element("figcaption", element("b", title), element("span", "the most frequent ones"))
        return element("figure", caption, body, class_="chart listed")
    counts = {(label, label): right for label, right in enumerate(found.right) if right}
    counts |= {(label, answer): count for label, answer, count in found.pairs}
    totals = [*found.totals, *[0] * (size - len(found.totals))]
    drawing = HeatMap([found.name(answer) for answer in range(size)], totals, counts)
    wrong = sum(count for *_, count in found.pairs)
    words = f"Confusion matrix of {size} classes after step {number}: {wrong:,} of {sum(totals):,} images wrong"
    note = "a row a class, a column an answer; blue is right, orange is wrong, darker a larger share of the class"
    return figure(title, heat_map(drawing, words), headings=head, rows=rows, note=note)


def _table(before: Told | None, last: Told) -> Markup:
    """Every class in numbers."""
    found = last[2]
    then = [f"step {before[0]}"] if before is not None else []
    head = ["class", "images", *then, f"step {last[0]}", "95 % interval", *(["change"] if then else [])]
    body = table(head, (tuple(_row(before, found, label)) for label in _order(found)))
    caption = element(
        "figcaption", element("b", "Accuracy by class"), element("span", f"after step {last[0]} {last[1]}")
    )
    return element("figure", caption, scrolled(body, "Accuracy by class"), class_="chart listed")


def _row(before: Told | None, found: ConfusionRecord, label: int) -> Iterator[str]:
    right, total = found.right[label], found.totals[label]
    yield found.names[label]
    yield f"{total:,}"
    if before is not None:
        yield f"{100 * before[2].right[label] / total:.1f} %"
    low, high = wilson(right, total)
    yield f"{100 * right / total:.1f} %"
    yield f"{100 * low:.1f}–{100 * high:.1f} %"
    if before is not None:
        yield _points(found, label)[0]
