"""Several runs side by side on one offline page."""

from __future__ import annotations

import json
from collections.abc import Sequence

from markupsafe import Markup

from convslim.report.figures.axis import counting, linear, percent
from convslim.report.figures.changes import intervals
from convslim.report.figures.chart import SERIES, TOP, Frame, figure, line, point, spread, tag
from convslim.report.figures.ranges import Range
from convslim.report.markup import bar, element, joined, scrolled, table
from convslim.report.quality import measure_of, qualities, titled
from convslim.report.run_files import RunFiles
from convslim.report.run_page import filled, readable
from convslim.report.sections.headline import facts
from convslim.report.sections.section import Section


def comparison_page(runs: Sequence[RunFiles]) -> str:
    """The page as HTML text.

    Raises:
        ArtifactError: a record does not make sense.
    """
    with readable(", ".join(run.name for run in runs)):
        sections = [section for section in (_results(runs), _channels(runs), _machines(runs)) if section is not None]
    return filled(
        title=", ".join(run.name for run in runs),
        kicker=f"convslim: {len(runs)} runs side by side",
        sentence="",
        headline="",
        sections=sections,
        source="the runs' records and plans",
        record=json.dumps([run.record.model_dump(mode="json") for run in runs]),
    )


def _results(runs: Sequence[RunFiles]) -> Section:
    found = [{fact.title: fact for fact in facts(run)} for run in runs]
    titles = list(dict.fromkeys(title for row in found for title in row))
    rows = [
        (run.name, *(_cell(row[title].after, row[title].change) if title in row else "–" for title in titles))
        for run, row in zip(runs, found, strict=True)
    ]
    body = element(
        "div", table(["run", *titles], rows), class_="scroll", tabindex=0, role="region", aria_label="Results"
    )
    drawn = [draw(part, number) for number, part in enumerate(_parts(runs), start=1) for draw in (_ends, _rows, _ways)]
    charts = element("div", *drawn, class_="charts")
    lead = "Each run's network at its end, and what became of the number that it began with."
    return Section("results", "Results", lead, joined([body, Markup("<br>"), charts]))


def _cell(after: str, change: str) -> Markup:
    return joined([element("b", after), element("br"), change])


def _parts(runs: Sequence[RunFiles]) -> list[Sequence[RunFiles]]:
    """As many runs a drawing as look different."""
    return [runs[start : start + SERIES] for start in range(0, len(runs), SERIES)]


def _ends(runs: Sequence[RunFiles], number: int) -> Markup:
    """Accuracy against MACs, of every run's end; of runs without any accuracy nothing is drawn."""
    found = [(place, run, qualities(run.record)[-1]) for place, run in enumerate(runs) if qualities(run.record)]
    shares = [quality.step.macs / run.record.base_macs for _, run, quality in found]
    frame = Frame(
        linear("MACs, % of the original", [0, 1, *shares], form=percent, zero=True, tight=True),
        linear("", [end for *_, each in found for end in (each.low, each.high)], form=percent, within=(0, 1)),
    )
    places = beside(shares)
    marks = [
        mark
        for (series, run, quality), x, drawn in zip(found, shares, places, strict=True)
        for across, top in [frame.at(drawn, quality.high)]
        for mark in (
            spread(frame, series, drawn, quality.low, quality.high),
            point(frame, series, drawn, quality.share, f"{run.name}: {quality.text} at {100 * x:.1f} % of the MACs"),
            tag(across, max(top - 6 - 9 * (sorted(places).index(drawn) % 3), 9), str(series + 1)),
        )
    ]
    return figure(
        _numbered(f"{_measure(runs)} against cost", number),
        frame.draw(*marks, label=f"{_measure(runs)} against MACs of {len(found)} runs"),
        names=_keys(runs),
        headings=["run", "MACs, %", _measure(runs), "95 % interval"],
        rows=[
            (run.name, f"{100 * x:.1f}", each.text, each.interval)
            for (_, run, each), x in zip(found, shares, strict=True)
        ],
        note="at the end, with 95 % intervals of accuracies; runs of nearly equal cost stand side by side",
    )


def _rows(runs: Sequence[RunFiles], number: int) -> Markup | None:
    """The measure at the end, run below run."""
    found = [(place, run.name, qualities(run.record)[-1]) for place, run in enumerate(runs) if qualities(run.record)]
    if not found:
        return None
    axis = linear(
        _measure(runs),
        [end for *_, each in found for end in (each.low, each.high)],
        form=percent,
        within=(0, 1),
        wanted=4,
    )
    rows = [
        Range(f"{place + 1} {name}", place, each.low, each.share, each.high, f"{name}: {each.text} ({each.interval})")
        for place, name, each in found
    ]
    return figure(
        _numbered(f"{_measure(runs)} at the end", number),
        intervals(rows, axis, f"{_measure(runs)} at the end of {len(rows)} runs"),
        headings=["run", _measure(runs), "95 % interval"],
        rows=[(name, each.text, each.interval) for _, name, each in found],
        note="with 95 % intervals of accuracies",
    )


def beside(shares: Sequence[float], near: float = 0.02) -> list[float]:
    """Places for points that would lie on each other: neighbors in cost stand in a row.

    >>> beside([0.4, 0.41, 0.9])
    [0.39, 0.41000000000000003, 0.9]
    """
    places = list(shares)
    order = sorted(range(len(shares)), key=lambda place: shares[place])
    rows: list[list[int]] = []
    for place in order:
        if rows and shares[place] - shares[rows[-1][0]] < near:
            rows[-1].append(place)
        else:
            rows.append([place])
    for row in rows:
        for turn, place in enumerate(row):
            places[place] = shares[row[0]] + near * (turn - (len(row) - 1) / 2)
    return places


def _ways(runs: Sequence[RunFiles], number: int) -> Markup:
    """Accuracy step by step."""
    found = [(run.name, qualities(run.record)) for run in runs]
    last = max((each.number for _, way in found for each in way), default=1)
    shares = [quality.share for _, way in found for quality in way]
    frame = Frame(counting("step", last), linear("", shares, form=percent, within=(0, 1)))
    marks = [
        mark
        for series, (name, way) in enumerate(found)
        for mark in (
            line(frame, series, [(each.number, each.share) for each in way]),
            *(point(frame, series, each.number, each.share, f"{name}, {each.name}: {each.text}") for each in way),
        )
    ]
    last_ones = [(series, frame.at(way[-1].number, way[-1].share)) for series, (_, way) in enumerate(found) if way]
    heights = apart([y for _, (_, y) in last_ones])
    lift = min([0.0, *(y - TOP for y in heights)])
    marks += [
        tag(x + 13, y + 4 - lift, str(series + 1)) for (series, (x, _)), y in zip(last_ones, heights, strict=True)
    ]
    return figure(
        _numbered(f"{_measure(runs)} step by step", number),
        frame.draw(*marks, label=f"{_measure(runs)} after every step of {len(found)} runs"),
        names=_keys(runs),
        headings=["run", "step", _measure(runs)],
        rows=[(name, each.name, each.text) for name, way in found for each in way],
        note="steps that leave the network as it is are left out",
    )


def apart(heights: Sequence[float], gap: float = 11.0) -> list[float]:
    """Places for texts beside points, in the same order from top to bottom, that do not lie on each other.

    >>> apart([50.0, 48.0, 90.0])
    [54.5, 43.5, 90.0]
    """
    order = sorted(range(len(heights)), key=lambda place: heights[place])
    rows: list[list[int]] = []
    for place in order:
        rows.append([place])
        while len(rows) > 1 and _middle(rows[-1], heights) - _middle(rows[-2], heights) < gap * _reach(rows):
            last = rows.pop()
            rows[-1] += last
    places = list(heights)
    for row in rows:
        for turn, place in enumerate(row):
            places[place] = _middle(row, heights) + gap * (turn - (len(row) - 1) / 2)
    return places


def _middle(row: Sequence[int], heights: Sequence[float]) -> float:
    return sum(heights[place] for place in row) / len(row)


def _reach(rows: Sequence[Sequence[int]]) -> float:
    """Texts between the middles of the last two rows."""
    return (len(rows[-1]) + len(rows[-2])) / 2


def _keys(runs: Sequence[RunFiles]) -> list[str]:
    """The runs as a legend has them: by the number that stands at their points."""
    return [f"{place} {run.name}" for place, run in enumerate(runs, start=1)]


def _measure(runs: Sequence[RunFiles]) -> str:
    """What the runs measure; what several tasks measure does not compare."""
    found = dict.fromkeys(titled(measure_of(run.record)) for run in runs)
    return " or ".join(found)


def _numbered(title: str, number: int) -> str:
    return title if number == 1 else f"{title} ({number})"


def _channels(runs: Sequence[RunFiles]) -> Section | None:
    """Channels per group, where the runs began with the same network."""
    cut = [run for run in runs if run.channels]
    if len(cut) < 2 or any(dict(run.channels) != dict(cut[0].channels) for run in cut):
        return None
    rows = [
        (name, f"{count:,}", *(_stayed(len(run.kept.get(name, range(count))), count) for run in cut))
        for name, count in cut[0].channels.items()
    ]
    body = table(["group", "before", *(run.name for run in cut)], rows)
    return Section(
        "channels",
        "Channels that stayed",
        "By group of the original network.",
        scrolled(body, "Channels that stayed"),
    )


def _stayed(count: int, before: int) -> Markup:
    return joined([f"{count:,}", bar(count / before)])


def _machines(runs: Sequence[RunFiles]) -> Section:
    rows = [
        (
            run.name,
            str(run.record.recipe.get("model", {}).get("spec", "?")),
            str(run.record.recipe.get("data", {}).get("spec", "?")),
            f"{run.record.seed}",
            f"{run.record.machine.cpu}, {run.record.machine.cores} cores",
            ", ".join(
                f"{name} {run.record.versions[name]}" for name in ("convslim", "torch") if name in run.record.versions
            ),
        )
        for run in runs
    ]
    body = table(["run", "network", "data", "seed", "machine", "versions"], rows, texts=6)
    lead = "Latencies of different machines do not compare, nor do accuracies on different data."
    return Section(
        "origin",
        "Where the numbers come from",
        lead,
        scrolled(body, "Where the numbers come from"),
    )
