"""How the channel engine's time grows with the size of a network, from tiny ones to some that nobody trains.

Two families grow in the number of layers (a chain) and of branches (a concatenation); two wide, deep networks stand for
what is large in practice. All run in one process, one after the other, on one thread; seconds are processor time:

    python benchmarks/scaling.py                       # the table, and benchmarks/scaling.svg
    python benchmarks/scaling.py --only chain
    python benchmarks/scaling.py --redraw benchmarks/README.md     # the picture alone, from the table there
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import convslim


class Chain(nn.Module):
    """Convolutions with BatchNorm one behind the other."""

    def __init__(self, layers: int, width: int = 8) -> None:
        super().__init__()
        block = [
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
            for _ in range(layers)
        ]
        self.body = nn.Sequential(nn.Conv2d(3, width, 1), *block)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores."""
        scores: Tensor = self.head(self.body(x).mean((2, 3)))
        return scores


class Fan(nn.Module):
    """Many branches on the input, concatenated and read by one layer."""

    def __init__(self, branches: int, width: int = 4) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(3, width, 1) for _ in range(branches))
        self.head = nn.Conv2d(branches * width, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores."""
        joined: Tensor = self.head(torch.cat([branch(x) for branch in self.branches], 1))
        return joined.mean((2, 3))


@dataclass(frozen=True)
class Subject:
    """A network to build, and the side of its square input."""

    family: str
    size: str
    build: Callable[[], nn.Module]
    side: int


def subjects() -> list[Subject]:
    """Both families in steps of four, and the two large networks."""

    def wide() -> nn.Module:
        return convslim.models.create("torchvision:resnet152", width_per_group=256)

    def large() -> nn.Module:
        return convslim.models.create("timm:tf_efficientnet_l2")

    chains = [Subject("chain", f"{n} layers", partial(Chain, n), 8) for n in (125, 500, 2000)]
    fans = [Subject("fan", f"{n} branches", partial(Fan, n), 8) for n in (625, 2500, 10000)]
    return [*chains, *fans, Subject("ResNet-152", "4 times wide", wide, 64), Subject("EfficientNet-L2", "", large, 64)]


@dataclass(frozen=True)
class Row:
    """What was measured of one network; seconds."""

    subject: Subject
    layers: int
    channels: int
    forward: float
    steps: tuple[float, ...]  # trace, score, allocate, remove and prove


def measure(subject: Subject) -> Row:
    """Half of the channels of every group, from a built network to a proven smaller one."""
    torch.manual_seed(0)
    model, x = subject.build().eval(), torch.randn(1, 3, subject.side, subject.side)
    with torch.no_grad():
        model(x)
        start = time.process_time()
        model(x)
    marks = [start, time.process_time()]
    graph = convslim.trace(model, x)
    marks.append(time.process_time())
    scores = convslim.score(graph, model, "l1")
    marks.append(time.process_time())
    plan = convslim.allocate(graph, scores, {}, how="per-group", ratios={"*": 0.5}, round_to=1)
    marks.append(time.process_time())
    convslim.remove(model, plan, x, graph=graph)
    marks.append(time.process_time())
    steps = [after - before for before, after in itertools.pairwise(marks)]
    channels = sum(group.num_channels for group in graph.groups)
    return Row(subject, len(graph.calls), channels, steps[0], tuple(steps[1:]))


HEAD = (
    "| network | size | layers | channels | forward | trace | score | allocate | remove and prove | ms per layer |\n"
    "| --- | --- |" + " ---: |" * 8
)


def line(row: Row) -> str:
    """One row of the table."""
    seconds = " | ".join(f"{value:.2f}" for value in (row.forward, *row.steps))
    each = 1000 * sum(row.steps) / row.layers
    name = f"{row.subject.family} | {row.subject.size}"
    return f"| {name} | {row.layers:,} | {row.channels:,} | {seconds} | **{each:.2f}** |"


COLORS = {"chain": "#2563eb", "fan": "#d97706"}


def labels(dots: list[tuple[str, float, float]]) -> list[str]:
    """A name beside every dot, at the first place where it covers no dot and no other name."""
    taken = [(x - 6, y - 6, x + 6, y + 6) for _, x, y in dots]
    texts = []
    for name, x, y in dots:
        width = 6.6 * len(name)
        lefts = [(x - 8 - width, y - 10), (x + 9, y + 4), (x - 9 - width, y + 4), (x - width / 2, y + 20)]
        places = [(left, base, left + width, base - 11) for left, base in lefts if left >= 0]
        free = [place for place in places if not any(_overlap(place, other) for other in taken)]
        left, base, right, top = (free or places)[0]
        taken.append((left, top, right, base))
        texts.append(f'<text x="{left:.1f}" y="{base:.1f}" fill="{COLORS.get(name, "#111")}">{name}</text>')
    return texts


def _overlap(text: tuple[float, ...], box: tuple[float, ...]) -> bool:
    left, base, right, top = text
    return left < box[2] and box[0] < right and top < box[3] and box[1] < base


def read_rows(text: str) -> list[Row]:
    """The rows of a table that :func:`line` wrote, to draw them anew."""
    found = {(subject.family, subject.size): subject for subject in subjects()}
    rows = []
    for each in text.splitlines():
        cells = [cell.strip().replace(",", "") for cell in each.split("|")[1:-1]]
        if len(cells) == 10 and tuple(cells[:2]) in found:
            forward, *steps = map(float, cells[4:9])
            rows.append(Row(found[cells[0], cells[1]], int(cells[2]), int(cells[3]), forward, tuple(steps)))
    return rows


def picture(rows: list[Row]) -> str:
    """Seconds against layers, both logarithmic, with a line of slope one to compare with."""
    across = [math.log10(row.layers) for row in rows]
    up = [math.log10(sum(row.steps)) for row in rows]
    left, low = math.floor(min(across)), math.floor(min(up))
    spans = math.ceil(max(across)) - left, math.ceil(max(up)) - low

    def place(x: float, y: float) -> tuple[float, float]:
        return 60 + 500 * (x - left) / spans[0], 320 - 290 * (y - low) / spans[1]

    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 610 370" font-family="sans-serif" font-size="12">']
    parts.append('<rect width="610" height="370" fill="#fff"/>')
    for step in range(spans[0] + 1):
        x, _ = place(left + step, low)
        label = f'<text x="{x:.1f}" y="338" text-anchor="middle">{10 ** (left + step):,}</text>'
        parts.append(f'<path d="M{x:.1f} 30V320" stroke="#ddd"/>{label}')
    for step in range(spans[1] + 1):
        _, y = place(left, low + step)
        parts.append(
            f'<path d="M60 {y:.1f}H560" stroke="#ddd"/><text x="8" y="{y:.1f}">{10.0 ** (low + step):g} s</text>'
        )
    shift = min(y - x for x, y in zip(across, up, strict=True))
    begin = max(min(across), low - shift)
    start, end = place(begin, begin + shift), place(max(across), max(across) + shift)
    parts.append(
        f'<path d="M{start[0]:.1f} {start[1]:.1f}L{end[0]:.1f} {end[1]:.1f}" stroke="#999" stroke-dasharray="4"/>'
    )
    dots = [(row.subject.family, *place(x, y)) for row, x, y in zip(rows, across, up, strict=True)]
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{COLORS.get(name, "#111")}"/>' for name, x, y in dots]
    parts += labels(dots)
    parts.append('<text x="300" y="362" text-anchor="middle">layers (dashed: proportional)</text>')
    parts.append('<text x="8" y="18">trace + score + allocate + remove and prove</text></svg>')
    return "\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the channel engine on networks of growing size.")
    parser.add_argument("--only", default="", help="run the families whose name contains this")
    parser.add_argument("--picture", type=Path, default=Path(__file__).with_suffix(".svg"))
    parser.add_argument("--redraw", type=Path, help="measure nothing: draw the table of this page")
    options = parser.parse_args()
    if options.redraw:
        options.picture.write_text(picture(read_rows(options.redraw.read_text(encoding="utf-8"))), encoding="utf-8")
        return
    torch.set_num_threads(1)
    print(HEAD, flush=True)
    rows = []
    for subject in subjects():
        if options.only in subject.family:
            rows.append(measure(subject))
            print(line(rows[-1]), flush=True)
    options.picture.write_text(picture(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
