"""Every candidate of a search, and those that no other one beats.

A step `search` tells of its candidates in ``details["search"]["candidates"]``: a list of mappings with ``name``,
``generation``, ``parents``, ``genome``, ``costs`` (by metric, latency in nanoseconds), ``fitness`` (a list, what is
maximized), ``total`` images and, where these are right or wrong, how many are ``correct``; ``best`` and ``front``
beside them name some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup

from convslim.report.figures.axis import counting, linear, number, percent
from convslim.report.figures.chart import Frame, figure, line, point
from convslim.report.markup import element, joined
from convslim.report.numbers import magnitude
from convslim.report.quality import titled
from convslim.report.record import StepRecord
from convslim.report.run_files import RunFiles
from convslim.report.sections.section import Section

Candidate = Mapping[str, Any]

UNITS: Final = {"macs": ("MACs", 1.0), "params": ("parameters", 1.0), "latency": ("latency, ms", 1e-6)}
"""By metric: what it is called, and what to multiply it by."""


def search(run: RunFiles) -> Section | None:
    """The section; a run without a search has none."""
    found = [(number, step) for number, step in enumerate(run.record.steps, start=1) if candidates_of(step)]
    if not found:
        return None
    body = joined([element("div", *_charts(step, f"{number} {step.kind}"), class_="charts") for number, step in found])
    step = found[0][1]
    every = candidates_of(step)
    evaluated = _told(step).get("evaluated", len(every))
    return Section(
        "search",
        "What the search tried",
        f"{len(every)} candidates in {_generations(every)} generations, {evaluated} of them evaluated"
        f"{'; the others are equal to an earlier one' if evaluated < len(every) else ''}. {titled(step.measure)} is of "
        "held-out training images, right after the cut.",
        body,
    )


def candidates_of(step: StepRecord) -> list[Candidate]:
    """Candidates with a fitness; none of other steps."""
    found = _told(step).get("candidates")
    if not isinstance(found, list):
        return []
    return [each for each in found if isinstance(each, Mapping) and each.get("fitness") and each.get("costs")]


def _told(step: StepRecord) -> Mapping[str, Any]:
    """What a step tells of its search."""
    found = step.details.get("search")
    return found if isinstance(found, Mapping) else {}


def _generations(every: Sequence[Candidate]) -> int:
    return len({each["generation"] for each in every})


def _charts(step: StepRecord, name: str) -> list[Markup]:
    every = candidates_of(step)
    what = fitness_of(step)
    return [_pareto(step, every, metric, name, what) for metric in every[0]["costs"]] + [_progress(every, name, what)]


def fitness_of(step: StepRecord) -> str:
    """What the first of the numbers that are maximized is: what the task measures, unless a cost is part of it."""
    return "fitness" if step.config.get("objective") == "adjustable" else step.measure


def _pareto(step: StepRecord, every: Sequence[Candidate], metric: str, name: str, what: str) -> Markup:
    """Fitness against one cost; a line through those that are better than all cheaper ones."""
    label, factor = UNITS.get(metric, (metric, 1.0))
    places = [(float(each["costs"][metric]) * factor, _fitness(each)) for each in every]
    form = percent if all("total" in each for each in every) else number
    across = number if metric == "latency" else _shortened
    frame = Frame(
        linear(label, [x for x, _ in places], form=across, wanted=4),
        linear(what, [y for _, y in places], form=form),
    )
    front = set(_told(step).get("front") or ())
    best = _told(step).get("best")
    marks = [line(frame, 5, _envelope(places))]
    order = sorted(range(len(every)), key=lambda place: (every[place].get("name") == best, places[place][1]))
    for place in order:
        each, (x, y) = every[place], places[place]
        chosen = each.get("name") == best
        kind = "chosen" if chosen else "" if each.get("name") in front else "faint"
        marks.append(point(frame, 1 if chosen else 0, x, y, _words(each, label, x, f"{what} {form(y)}"), kind=kind))
    return figure(
        f"Every candidate, step {name}",
        frame.draw(*marks, label=f"{titled(what)} against {label} of {len(every)} candidates"),
        names=["candidate", "the one that was taken"],
        headings=["candidate", "generation", label, what, "parents"],
        rows=[
            (each.get("name", "?"), each["generation"], number(x), form(y), ", ".join(each.get("parents", ())) or "–")
            for each, (x, y) in zip(every, places, strict=True)
        ],
        note="the dashed line joins those that no cheaper one beats",
    )


def _shortened(count: float) -> str:
    return magnitude(round(count))


def _envelope(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Candidates with a fitness above that of all that cost less, by cost."""
    found: list[tuple[float, float]] = []
    for x, y in sorted(places, key=lambda place: (place[0], -place[1])):
        if not found or y > found[-1][1]:
            found.append((x, y))
    return found


def _progress(every: Sequence[Candidate], name: str, what: str) -> Markup:
    """The best and the middle fitness, generation by generation."""
    numbers = sorted({int(each["generation"]) for each in every})
    members = {turn: sorted(_fitness(each) for each in every if each["generation"] == turn) for turn in numbers}
    best = [max(value for turn in numbers[: place + 1] for value in members[turn]) for place in range(len(numbers))]
    middle = [members[turn][len(members[turn]) // 2] for turn in numbers]
    form = percent if all("total" in each for each in every) else number
    frame = Frame(counting("generation", len(numbers)), linear(what, [*best, *middle], form=form))
    marks: list[Markup | None] = []
    for series, (title, values) in enumerate({"best so far": best, "median": middle}.items()):
        marks.append(line(frame, series, [(float(turn), y) for turn, y in enumerate(values, start=1)]))
        marks += [
            point(frame, series, float(turn), y, f"generation {turn}: {title} {form(y)}")
            for turn, y in enumerate(values, start=1)
        ]
    return figure(
        f"Generation by generation, step {name}",
        frame.draw(*marks, label=f"Best and median {what} over {len(numbers)} generations"),
        names=["best so far", "median"],
        headings=["generation", "best so far", "median"],
        rows=[(turn, form(a), form(b)) for turn, (a, b) in enumerate(zip(best, middle, strict=True), start=1)],
    )


def _fitness(each: Candidate) -> float:
    """The first of what is maximized."""
    fitness = each["fitness"]
    return float(fitness[0] if isinstance(fitness, list) else fitness)


def _words(each: Candidate, label: str, cost: float, fitness: str) -> str:
    words = f"{each.get('name', 'candidate')}, generation {each['generation']}: {fitness}, {label} {number(cost)}"
    if each.get("total"):
        right = each.get("correct")
        words += f", {each['total']} images" if right is None else f", {right} of {each['total']} right"
    return words if each.get("complete", True) else f"{words}, given up early"
