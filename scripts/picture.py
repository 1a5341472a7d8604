"""The README's picture: what a run did to a network, drawn from its record.json and nothing else.

    python scripts/picture.py convslim-demo/record.json docs/pictures/demo.svg

The SVG brings its own background, and follows the reader's light or dark scheme.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

from convslim.report import LatencyRecord, RunRecord, StepRecord

WIDTH, MARGIN = 960, 32
LEFT, RIGHT = MARGIN, 520
BAR = 12
STYLE = """
  text { font: 14px ui-sans-serif, system-ui, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #1f2328; }
  .title { font-size: 19px; font-weight: 600; }
  .head { font-weight: 600; }
  .small { font-size: 12px; fill: #59636e; }
  .number { font-variant-numeric: tabular-nums; }
  .card { fill: #ffffff; stroke: #d1d9e0; }
  .before { fill: #c4ccd4; }
  .after { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .small { fill: #9198a1; }
    .card { fill: #0d1117; stroke: #3d444d; }
    .before { fill: #424a53; }
    .after { fill: #4493f8; }
  }
"""


class Pair(NamedTuple):
    """One measure before and after: bars are drawn as shares of `full`."""

    name: str
    before: float
    after: float
    full: float
    text: str


def pairs(record: RunRecord) -> Iterator[Pair]:
    """The measures that the record holds, in the order of the picture.

    Accuracy before is that of the last evaluated step before the first cut.
    """
    first_cut = next(number for number, step in enumerate(record.steps) if step.kind == "prune")
    early = [step for step in record.steps[:first_cut] if step.accuracy is not None]
    late = [step for step in record.steps[first_cut:] if step.accuracy is not None]
    if early and late:
        yield _accuracy(early[-1], late[-1])
    last = record.steps[-1]
    for name, old, new in (("MACs", record.base_macs, last.macs), ("parameters", record.base_params, last.params)):
        yield Pair(name, old, new, old, f"{old:,} → {new:,} ({100 * new / old:.1f} %)")
    yield from _latencies([latency for step in record.steps for latency in step.latency])


def _accuracy(before: StepRecord, after: StepRecord) -> Pair:
    shares = (before.accuracy or 0.0, after.accuracy or 0.0)
    text = f"{before.correct}/{before.total} → {after.correct}/{after.total} ({shares[0]:.2%} → {shares[1]:.2%})"
    return Pair("test accuracy", *shares, 1.0, text.replace("%", " %"))


def _latencies(found: list[LatencyRecord]) -> Iterator[Pair]:
    named = {(latency.name, latency.batch, latency.threads): latency.median_ms for latency in found}
    for latency in found:
        if latency.name == "before" and ("after", latency.batch, latency.threads) in named:
            old, new = latency.median_ms, named["after", latency.batch, latency.threads]
            name = f"latency, batch {latency.batch}"
            yield Pair(name, old, new, max(old, new), f"{old:.3f} → {new:.3f} ms ({old / new:.2f}×)")


def channels(record: RunRecord) -> list[tuple[str, int, int, bool]]:
    """Name, kept and original channels of every group, and whether it is pinned.

    Several cuts of one network are taken together: what the last one left, of what the first one found.
    """
    cuts = [step.details for step in record.steps if step.kind == "prune"]
    last = cuts[-1]["channels"]
    return [
        (name, last.get(name, [total])[0], total, name in cuts[0]["pinned"])
        for name, (_, total) in cuts[0]["channels"].items()
    ]


def draw(record: RunRecord) -> str:
    """The picture as SVG text."""
    left, right = list(_measures(record)), list(_groups(record))
    foot = list(_footer(record))
    body = max(len(list(pairs(record))) * 62, len(channels(record)) * 34)
    bottom = 108 + body + 12
    height = bottom + 20 * len(foot) + 12
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(_title(record))}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="10"/>',
        _text(MARGIN, 42, _title(record), "title"),
        *left,
        *right,
        *(_text(MARGIN, bottom + 20 * number + 10, line, "small") for number, line in enumerate(foot)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _title(record: RunRecord) -> str:
    left = record.steps[-1].macs / record.base_macs
    return f"{record.recipe['model']['spec']} on {record.recipe['data']['spec']}: {100 * left:.1f} % of the MACs remain"


def _measures(record: RunRecord) -> Iterator[str]:
    yield _legend(LEFT, "before", "after")
    for number, pair in enumerate(pairs(record)):
        top = 112 + 62 * number
        yield _text(LEFT, top, pair.name, "head")
        yield _text(LEFT + 440, top, pair.text, "number", anchor="end")
        yield from _bars(LEFT, top + 10, 440, [("before", pair.before / pair.full)])
        yield from _bars(LEFT, top + 10 + BAR + 2, 440, [("after", pair.after / pair.full)])


def _groups(record: RunRecord) -> Iterator[str]:
    found = channels(record)
    widest = max(total for _, _, total, _ in found)
    yield _legend(RIGHT, "channels removed", "kept, per channel group")
    for number, (name, kept, total, is_pinned) in enumerate(found):
        top = 104 + 34 * number
        yield _text(RIGHT, top + BAR, name)
        yield from _bars(RIGHT + 130, top, 190, [("before", total / widest), ("after", kept / widest)])
        yield _text(WIDTH - MARGIN, top + BAR, f"{kept} of {total}{', pinned' if is_pinned else ''}", "number", "end")


def _legend(left: int, before: str, after: str) -> str:
    first = 24 + 7.5 * len(before)
    return "".join(
        [
            f'<rect class="before" x="{left}" y="66" width="{BAR}" height="{BAR}" rx="2"/>',
            _text(left + 18, 77, before, "small"),
            f'<rect class="after" x="{left + first:.0f}" y="66" width="{BAR}" height="{BAR}" rx="2"/>',
            _text(left + first + 18, 77, after, "small"),
        ]
    )


def _bars(left: int, top: int, width: int, shares: Iterable[tuple[str, float]]) -> Iterator[str]:
    for kind, share in shares:
        yield (f'<rect class="{kind}" x="{left}" y="{top}" width="{max(width * share, 1):.1f}" height="{BAR}" rx="2"/>')


def _text(left: float, base: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{left:.0f}" y="{base:.0f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def _footer(record: RunRecord) -> Iterator[str]:
    worst = max(step.details["certificate"]["relative_error"] for step in record.steps if step.kind == "prune")
    proof = f"Removed equals masked to {worst:.0e} (relative)"
    export = next((step for step in record.steps if step.kind == "export"), None)
    yield proof + (f"; the ONNX file equals the network to {export.details['max_error']:.0e}." if export else ".")
    if export and export.latency:
        threads = export.latency[0].threads
        yield f"Latency: ONNX Runtime on the CPU, float32, {threads} thread(s), median of both files called in turn."
    versions = record.versions
    yield (
        f"Recipe {record.name}, seed {record.seed}, {sum(step.seconds for step in record.steps):.0f} s in all; "
        f"{record.machine.cpu}, {record.machine.cores} cores; convslim {versions['convslim']}, "
        f"torch {versions['torch'].partition('+')[0]}."
    )


def main() -> None:
    """Read a record, write a picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path, help="record.json of a run with a prune step")
    parser.add_argument("picture", type=Path, help="SVG file to write")
    arguments = parser.parse_args()
    arguments.picture.write_text(draw(RunRecord.load(arguments.record)), encoding="utf-8")


if __name__ == "__main__":
    main()
