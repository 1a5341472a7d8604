"""Which channels could not go, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from markupsafe import Markup

from convslim.report.graph_headline import WAYS
from convslim.report.markup import breakable, element, joined
from convslim.report.numbers import counted
from convslim.report.record import StepRecord
from convslim.report.run_files import RunFiles
from convslim.report.sections.section import Section


def pins(run: RunFiles) -> Section | None:
    """The section, of the first cut; a run without one has none."""
    step = next((step for step in run.record.steps if "pinned" in step.details or "way" in step.details), None)
    if step is None:
        return None
    details = step.details
    parts: list[Markup | None] = [_way(step)]
    parts += _reasons("Pinned: these channels stay", details.get("pinned"))
    parts += _reasons("Approximate: what stays changes a little when these go", details.get("approximate"))
    keep = step.config.get("keep") or ()
    if keep:
        parts.append(element("p", "Kept whole, as the recipe says: ", element("code", ", ".join(map(str, keep))), "."))
    notes = details.get("notes") or ()
    if notes:
        parts.append(element("h3", "Notes"))
        parts.append(element("ul", *(element("li", str(note)) for note in notes)))
    return Section(
        "pins",
        "What stayed, and why",
        "convslim guesses nothing: an operation that it does not know pins the channels that reach it.",
        joined(parts),
    )


def _way(step: StepRecord) -> Markup | None:
    way = WAYS.get(step.details.get("way", ""))
    reason = str(step.details.get("way_reason", "")).rstrip(".")
    return element("p", "The smaller network ", element("b", way), f": {reason}.") if way else None


def _reasons(title: str, found: object) -> Iterator[Markup]:
    """Groups by their reasons, those of most groups first."""
    if not isinstance(found, Mapping) or not found:
        return
    groups: dict[str, list[str]] = {}
    for name, reasons in found.items():
        for reason in reasons:
            groups.setdefault(str(reason), []).append(str(name))
    yield element("h3", title)
    order = sorted(groups.items(), key=lambda pair: -len(pair[1]))
    yield element("ul", *(_reason(reason, names) for reason, names in order), class_="reasons")


def _reason(reason: str, names: list[str]) -> Markup:
    listed = joined(part for name in names for part in (element("code", breakable(name)), " "))
    return element("li", element("b", reason), f" ({counted(len(names), 'group')}) ", listed)
