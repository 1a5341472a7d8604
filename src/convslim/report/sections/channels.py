"""Channels before and after, group by group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from convslim.report.markup import breakable, element, scrolled
from convslim.report.run_files import RunFiles
from convslim.report.sections.section import Section


def channels(run: RunFiles) -> Section | None:
    """The section; a network that was never cut has none."""
    before, after = (sum(counts) for counts in zip(*_counts(run).values(), strict=True)) if run.kept else (0, 0)
    if not before:
        return None
    most = max(run.channels.values())
    rows = [_row(name, run, most) for name in run.channels]
    head = element(
        "tr",
        *(element("th", text, scope="col", class_=kind) for text, kind in HEADINGS),
    )
    caption = element("caption", f"{len(run.channels)} groups; filled: channels that stayed, at their places")
    body = element("table", caption, element("thead", head), element("tbody", *rows), class_="groups")
    return Section(
        "channels",
        "Channels, group by group",
        f"{after:,} of {before:,} channels stayed. A group is channels that live or die together, named after the "
        "layer that makes them first. Point at a bar, or open a row, for the channels by number.",
        scrolled(body, "Channels by group"),
    )


HEADINGS = (("group", None), ("before", "number"), ("after", "number"), ("which", "wide"))


def _counts(run: RunFiles) -> dict[str, tuple[int, int]]:
    return {name: (count, len(run.kept.get(name, range(count)))) for name, count in run.channels.items()}


def _row(name: str, run: RunFiles, most: int) -> Markup:
    count = run.channels[name]
    kept = run.kept.get(name, range(count))
    words = f"{name}: {len(kept):,} of {count:,} channels stayed"
    strip = element(
        "svg",
        element("title", words),
        element("path", class_="gone", d=f"M0 0H{count}V1H0Z"),
        element("path", class_="kept", d="".join(f"M{start} 0H{end}V1H{start}Z" for start, end in runs(kept))),
        viewBox=f"0 0 {count} 1",
        preserveAspectRatio="none",
        role="img",
        aria_label=words,
        class_="strip mark",
        style=f"--share:{(count / most) ** 0.5:.4f}",
    )
    numbers = (
        element("details", element("summary", "numbers"), element("p", _listed(kept)))
        if 0 < len(kept) < count
        else None
    )
    return element(
        "tr",
        element("th", breakable(name), scope="row"),
        element("td", f"{count:,}", class_="number"),
        element("td", f"{len(kept):,}", class_="number" + (" less" if len(kept) < count else "")),
        element("td", strip, numbers, class_="wide"),
    )


def runs(kept: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Stretches of consecutive indices, each as begin and end.

    >>> list(runs([0, 1, 2, 5, 7, 8]))
    [(0, 3), (5, 6), (7, 9)]
    """
    start = end = None
    for index in kept:
        if index == end:
            end = index + 1
            continue
        if start is not None and end is not None:
            yield start, end
        start, end = index, index + 1
    if start is not None and end is not None:
        yield start, end


def _listed(kept: Sequence[int]) -> str:
    return ", ".join(f"{start}" if end - start == 1 else f"{start}–{end - 1}" for start, end in runs(kept))
