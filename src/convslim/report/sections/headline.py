"""The top of the page: what it was, what it is now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from convslim.report.markup import element, joined
from convslim.report.numbers import byte_text, counted, magnitude
from convslim.report.quality import before_cut, measure_of, qualities, titled
from convslim.report.record import LatencyRecord, RunRecord
from convslim.report.run_files import ORIGINAL, RunFiles


@dataclass(frozen=True)
class Fact:
    """One number before and after.

    Attributes:
        title: What it is.
        before, after: As texts; `before` is empty where nothing is known of it.
        change: What became of it.
        note: How it was measured.
        share: after / before, for the bar; None where a bar would say nothing.
    """

    title: str
    before: str
    after: str
    change: str
    note: str
    share: float | None = None


def headline(run: RunFiles) -> Markup:
    """Cards, one a fact."""
    return element("dl", *map(_card, facts(run)), class_="cards facts")


def facts(run: RunFiles) -> Iterator[Fact]:
    """What the run is judged by."""
    yield from _quality(run)
    record = run.record
    if record.steps:
        last = record.steps[-1]
        yield _count("MACs", record.base_macs, last.macs, "for one sample")
        yield _count("Parameters", record.base_params, last.params, "")
    yield from _bytes(run)
    yield from _latency(run)


def _quality(run: RunFiles) -> Iterator[Fact]:
    found = qualities(run.record)
    if not found:
        return
    first, last = before_cut(run.record), found[-1]
    title = titled(measure_of(run.record))
    sure = "" if last.low == last.high else f", 95 %: {last.interval}"
    note = f"{last.counts}{sure}, after step {last.name}"
    if first is None or first.number == last.number:
        yield Fact(title, "", last.text, "", note)
        return
    points = f"{100 * (last.share - first.share):+.2f} points".replace("-", "−")
    yield Fact(title, first.text, last.text, points, f"{note}; before: after step {first.name}")


def _count(title: str, before: int, after: int, note: str) -> Fact:
    exact = f"{before:,} → {after:,}"
    change = _percent(after / before) if before else ""
    return Fact(title, magnitude(before), magnitude(after), change, f"{exact} {note}".strip(), _share(before, after))


def _bytes(run: RunFiles) -> Iterator[Fact]:
    """The last file that was written to be deployed, beside the original's."""
    files = [name for name in written_files(run.record) if name in run.sizes]
    before = run.sizes.get(ORIGINAL)
    if not files or before is None:
        return
    after = run.sizes[files[-1]]
    note = f"{files[-1]} beside {ORIGINAL}"
    yield Fact("File", byte_text(before), byte_text(after), _percent(after / before), note, after / before)


def written_files(record: RunRecord) -> list[str]:
    """Names of the ONNX files that steps wrote to be deployed, those in integers last: the accuracy is theirs."""
    steps = sorted(record.steps, key=lambda step: step.kind != "export")
    facts = [step.details if step.kind == "export" else step.details.get("file") for step in steps]
    return [str(each["path"]) for each in facts if isinstance(each, Mapping) and "path" in each]


def _latency(run: RunFiles) -> Iterator[Fact]:
    """Latencies that were measured in turn: the original's and the last file's, at the first setting."""
    files = written_files(run.record)
    pairs = (original_and_last(step.latency, files) for step in reversed(run.record.steps))
    pair = next((pair for pair in pairs if pair is not None), None)
    if pair is None:
        return
    before, after = pair
    words = f"{spread_text(after)} of {after.repeats} calls, 10th–90th percentile; before {spread_text(before)}"
    name = files[-1] if after.name == "after" and files else after.name
    yield Fact(
        "Latency",
        f"{before.median_ms:.3g}\u00a0ms",
        f"{after.median_ms:.3g}\u00a0ms",
        f"{before.median_ms / after.median_ms:.2f}× as fast",
        f"{name}, batch {after.batch}, {counted(after.threads, 'thread')}: {words}",
        after.median_ms / before.median_ms,
    )


def original_and_last(
    latencies: Sequence[LatencyRecord], files: Sequence[str]
) -> tuple[LatencyRecord, LatencyRecord] | None:
    """The original network's latency, and that of the last of the files that was measured beside it."""
    same = [each for each in latencies if (each.batch, each.threads) == (latencies[0].batch, latencies[0].threads)]
    named = {each.name: each for each in same}
    before = named.get("before", named.get(ORIGINAL))
    after = next((named[name] for name in ("after", *reversed(files)) if name in named), None)
    return None if before is None or after is None else (before, after)


def spread_text(latency: LatencyRecord) -> str:
    """The 10th and 90th percentile."""
    return f"{latency.p10_ms:.3g}–{latency.p90_ms:.3g} ms"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} % of it"


def _share(before: int, after: int) -> float | None:
    return after / before if before else None


def _card(fact: Fact) -> Markup:
    arrow = [element("s", fact.before), element("span", " → ", class_="arrow")] if fact.before else []
    bar = None
    if fact.share is not None:
        bar = element("span", class_="share", style=f"--share:{min(fact.share, 1.0):.4f}", aria_hidden="true")
    return element(
        "div",
        element("dt", fact.title),
        element(
            "dd",
            element("span", *arrow, element("strong", fact.after), class_="change"),
            bar,
            element("b", fact.change) if fact.change else None,
            element("span", fact.note, class_="note"),
        ),
    )


def sentence(run: RunFiles) -> Markup:
    """What was done, in a sentence."""
    record = run.record
    done, wanted = len(record.steps), len(record.recipe.get("steps", ()))
    state = f"{done} steps" if done >= wanted else f"unfinished: {done} of {wanted} steps"
    seconds = sum(step.seconds for step in record.steps)
    model, data = (str(record.recipe.get(key, {}).get("spec", "?")) for key in ("model", "data"))
    return joined(
        [
            element("b", model),
            " on ",
            element("b", data),
            f", seed {record.seed}, {state} in {duration(seconds)} on {record.machine.cpu}",
            f" and {record.machine.accelerator}" if record.machine.accelerator else "",
            ".",
        ]
    )


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(0.4), duration(75), duration(7321)
    ('0.4 s', '1 min 15 s', '2 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
