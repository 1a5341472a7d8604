"""Single test images whose answer the compression changed."""

from __future__ import annotations

from markupsafe import Markup

from convslim.report.class_record import ConfusionRecord, SampleRecord
from convslim.report.markup import element
from convslim.report.run_files import RunFiles
from convslim.report.sections.section import Section


def samples(run: RunFiles) -> Section | None:
    """The section; a run without such images has none."""
    told = [(number, step) for number, step in enumerate(run.record.steps, start=1) if step.confusion is not None]
    if not told or not told[-1][1].samples or told[-1][1].confusion is None:
        return None
    number, step = told[-1]
    assert step.confusion is not None, "steps without it were left out"
    lost, won = ([each for each in step.samples if (each.before == each.label) is before] for before in (True, False))
    body = [
        part
        for title, found in (("Right before, wrong now", lost), ("Wrong before, right now", won))
        if found
        for part in (element("h3", title), _gallery(found, step.confusion))
    ]
    return Section(
        "samples",
        "Images whose answer changed",
        f"Some of the test images that step {step.confusion.since} and step {number} {step.kind} answer differently. "
        f"All in all {sum(step.confusion.lost):,} were lost and {sum(step.confusion.won):,} won.",
        element("div", *body),
    )


def _gallery(found: list[SampleRecord], names: ConfusionRecord) -> Markup:
    return element("ul", *(_picture(each, names) for each in found), class_="gallery")


def _picture(each: SampleRecord, names: ConfusionRecord) -> Markup:
    label, before, after = (names.name(answer) for answer in (each.label, each.before, each.after))
    return element(
        "li",
        element("img", src=each.picture, alt=f"test image {each.index + 1}, {label}", width=96, height=96),
        element("b", label),
        element("span", f"{before} → {after}"),
        element("span", f"test image {each.index + 1:,}", class_="soft"),
    )
