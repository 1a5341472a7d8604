"""Where nodes and lines of a drawn graph stand: a small layered layout, from top to bottom.

Nodes get ranks by longest path, long lines get a point on every rank that they pass, the order within ranks comes
from barycenters, and the x coordinates from least squares under minimal gaps. All long lines of one node share one
bundle of points, so that a densely connected network stays readable.

References:
    K. Sugiyama, S. Tagawa, M. Toda, Methods for Visual Understanding of Hierarchical System Structures, 1981.
    E. R. Gansner et al., A Technique for Drawing Directed Graphs, 1993 (weights of long lines).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Final

NODE_HEIGHT: Final = 40.0
RANK_GAP: Final = 46.0
NODE_GAP: Final = 18.0
BUNDLE_WIDTH: Final = 8.0
MOST_PER_RANK: Final = 7
SWEEPS: Final = 12
PLACINGS: Final = 30
MARGIN: Final = 16.0

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A node: center ``x``, upper edge ``y``, and size, in pixels."""

    x: float
    y: float
    width: float
    height: float = NODE_HEIGHT


@dataclass(frozen=True)
class Line:
    """A link from one node to another; ``points`` run from top to bottom, also where the line ``returns`` upwards."""

    source: int
    target: int
    points: tuple[Point, ...]
    returns: bool


@dataclass(frozen=True)
class Layout:
    """Boxes in the order of the nodes, lines in that of the links, and the size of the whole, in pixels."""

    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    width: float
    height: float


def lay_out(links: Sequence[tuple[int, int]], widths: Sequence[float]) -> Layout:
    """Place nodes in ranks, each below what it follows, with few crossings.

    Args:
        links: Pairs (source, target) of node numbers, each once; cycles are allowed, links to itself are not.
        widths: Width of every node in pixels, in the order in which the nodes should come where links leave it open.

    >>> layout = lay_out([(0, 1), (1, 2), (2, 1)], [80, 80, 80])
    >>> [box.y for box in layout.boxes], [line.returns for line in layout.lines]
    ([16.0, 102.0, 188.0], [False, False, True])
    """
    ranks = ranks_of(len(widths), links)
    grid = _Grid(links, widths, ranks)
    grid.sort()
    grid.place()
    boxes = tuple(Box(grid.x[node], _top(ranks[node]), width) for node, width in enumerate(widths))
    lines = tuple(Line(*link, grid.route(link, boxes), ranks[link[0]] > ranks[link[1]]) for link in links)
    bottom = max((box.y + box.height for box in boxes), default=0.0)
    return Layout(boxes, lines, grid.width, bottom + MARGIN)


def ranks_of(num_nodes: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """Longest-path ranks, at most :data:`MOST_PER_RANK` nodes each; linked nodes never share one.

    Where only cycles are left, the first node of the given order begins.

    >>> ranks_of(3, [(0, 1), (0, 2), (1, 2), (2, 0)])
    [0, 1, 2]
    """
    linked: list[set[int]] = [set() for _ in range(num_nodes)]
    waits: dict[int, set[int]] = {node: set() for node in range(num_nodes)}
    for source, target in links:
        linked[source].add(target)
        linked[target].add(source)
        waits[target].add(source)
    ranks: dict[int, int] = {}
    filled: Counter[int] = Counter()
    while waits:
        node = next((node for node, sources in waits.items() if not sources - ranks.keys()), next(iter(waits)))
        del waits[node]
        rank = 1 + max((ranks[other] for other in linked[node] if other in ranks), default=-1)
        while filled[rank] >= MOST_PER_RANK:
            rank += 1
        ranks[node] = rank
        filled[rank] += 1
    return [ranks[node] for node in range(num_nodes)]


class _Grid:
    """Rows of items: the nodes, and behind them one item for every rank that a bundle of long lines passes."""

    def __init__(self, links: Sequence[tuple[int, int]], widths: Sequence[float], ranks: Sequence[int]) -> None:
        self.ranks = list(ranks)
        self.num_nodes = len(ranks)
        self.widths = list(widths)
        self.passing: dict[tuple[int, bool, int], int] = {}
        self.heights = _heights(links, ranks)
        self.rows = [_centered(nodes, self.heights) for nodes in _by_rank(ranks)]
        self.above: list[set[int]] = [set() for _ in ranks]
        self.below: list[set[int]] = [set() for _ in ranks]
        for link in links:
            items = self.items(link)
            for upper, lower in pairwise(items):
                self.below[upper].add(lower)
                self.above[lower].add(upper)
        self.x = [0.0] * len(self.widths)
        self.width = 2 * MARGIN

    def items(self, link: tuple[int, int]) -> list[int]:
        """The items of a link from top to bottom; those between its ends belong to all lines of its upper end."""
        upper, lower = sorted(link, key=self.ranks.__getitem__)
        between = range(self.ranks[upper] + 1, self.ranks[lower])
        return [upper, *(self._passing(upper, upper != link[0], rank) for rank in between), lower]

    def _passing(self, upper: int, returns: bool, rank: int) -> int:
        item = self.passing.setdefault((upper, returns, rank), len(self.widths))
        if item == len(self.widths):
            self.widths.append(BUNDLE_WIDTH)
            self.above.append(set())
            self.below.append(set())
            self.rows[rank].append(item)
        return item

    def sort(self) -> None:
        """Order every row by the mean places of its neighbors, and keep the order that crosses least."""
        best, fewest = [row.copy() for row in self.rows], self._crossings()
        for sweep in range(SWEEPS):
            downwards = sweep % 2 == 0
            places = {item: place for row in self.rows for place, item in enumerate(row)}
            for row in self.rows if downwards else self.rows[::-1]:
                _sort_row(row, self.above if downwards else self.below, places)
            crossings = self._crossings()
            if crossings < fewest:
                best, fewest = [row.copy() for row in self.rows], crossings
        self.rows = best

    def _crossings(self) -> int:
        total = 0
        for upper, lower in pairwise(self.rows):
            places = {item: place for place, item in enumerate(lower)}
            seen: list[int] = []
            for item in upper:
                ends = sorted(places[end] for end in self.below[item])
                total += sum(len(seen) - bisect_right(seen, end) for end in ends)
                for end in ends:
                    insort(seen, end)
        return total

    def place(self) -> None:
        """Give every item an x coordinate: near its neighbors, in the row's order, and at least a gap apart."""
        self.x = [0.0] * len(self.widths)
        for sweep in range(PLACINGS):
            downwards = sweep % 2 == 0
            for row in self.rows if downwards else self.rows[::-1]:
                # At first each sweep looks one way, so that distant rows find each other; then both ways.
                both = sweep >= SWEEPS
                self._place_row(row, from_above=downwards or both, from_below=not downwards or both)
        left = min((self.x[item] - self.widths[item] / 2 for item in range(len(self.x))), default=0.0)
        self.x = [x - left + MARGIN for x in self.x]
        self.width = max((self.x[item] + self.widths[item] / 2 for item in range(len(self.x))), default=0.0) + MARGIN

    def _pull(self, item: int, from_above: bool, from_below: bool) -> tuple[float, float]:
        """Where the neighbors want an item, and how strongly."""
        pulls = [
            *((self.x[other], self._strength(other, item)) for other in self.above[item] if from_above),
            *((self.x[other], self._strength(item, other)) for other in self.below[item] if from_below),
        ]
        weight = sum(strength for _, strength in pulls)
        return (sum(x * strength for x, strength in pulls) / weight, weight) if pulls else (self.x[item], 0.1)

    def _strength(self, upper: int, lower: int) -> float:
        """Long lines stay straight, and so does the longest way through the network."""
        if lower >= self.num_nodes:
            return 0.5 if upper < self.num_nodes else 8.0
        if upper >= self.num_nodes:
            return 0.5
        return (1.0 + self.heights[lower]) ** 2 if self.heights[upper] == self.heights[lower] + 1 else 1.0

    def _place_row(self, row: list[int], from_above: bool, from_below: bool) -> None:
        offsets, right = [], 0.0
        for before, item in zip([None, *row], row, strict=False):
            if before is not None:
                right += (self.widths[before] + self.widths[item]) / 2
                right += NODE_GAP if min(before, item) < self.num_nodes else 0.0
            offsets.append(right)
        pulls = [self._pull(item, from_above, from_below) for item in row]
        wanted = [x - offset for (x, _), offset in zip(pulls, offsets, strict=True)]
        for item, x, offset in zip(row, ascending(wanted, [weight for _, weight in pulls]), offsets, strict=True):
            self.x[item] = x + offset

    def route(self, link: tuple[int, int], boxes: Sequence[Box]) -> tuple[Point, ...]:
        """The points of a line, from top to bottom."""
        items = self.items(link)
        returns = items[0] != link[0]
        first, last = boxes[items[0]], boxes[items[-1]]
        # A line that returns keeps to the right, so that it never lies on the line that led down.
        shift = 0.3 if returns else 0.0
        points = [(first.x + shift * first.width, first.y + first.height)]
        for rank, item in enumerate(items[1:-1], start=self.ranks[items[0]] + 1):
            y = _top(rank)
            points += [(self.x[item], y), (self.x[item], y + NODE_HEIGHT)]
        return (*points, (last.x + shift * last.width, last.y))


def _by_rank(ranks: Sequence[int]) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in range(max(ranks, default=-1) + 1)]
    for node, rank in enumerate(ranks):
        rows[rank].append(node)
    return rows


def _centered(nodes: list[int], heights: Sequence[int]) -> list[int]:
    """The nodes with the one that most of the network hangs on in the middle, where barycenters then keep it."""
    spine = max(nodes, key=heights.__getitem__)
    if sum(heights[node] == heights[spine] for node in nodes) > 1:
        return nodes
    others = [node for node in nodes if node != spine]
    return [*others[: len(others) // 2], spine, *others[len(others) // 2 :]]


def _heights(links: Sequence[tuple[int, int]], ranks: Sequence[int]) -> list[int]:
    """Length of the longest way down from every node."""
    heights = [0] * len(ranks)
    for source, target in sorted(links, key=lambda link: -ranks[link[0]]):
        if ranks[source] < ranks[target]:
            heights[source] = max(heights[source], heights[target] + 1)
    return heights


def ascending(wanted: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The non-decreasing numbers nearest to the wanted ones, by weighted squares (pool adjacent violators).

    >>> ascending([1.0, 4.0, 2.0], [1.0, 1.0, 1.0])
    [1.0, 3.0, 3.0]
    """
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(wanted, weights, strict=True):
        count = 1
        while pools and pools[-1][0] >= value:
            before, its_weight, its_count = pools.pop()
            value = (before * its_weight + value * weight) / (its_weight + weight)
            weight, count = weight + its_weight, count + its_count
        pools.append((value, weight, count))
    return [value for value, _, count in pools for _ in range(count)]


def _sort_row(row: list[int], neighbors: Sequence[set[int]], places: dict[int, int]) -> None:
    """Sort a row by the mean places of its neighbors; what has none stays about where it is."""
    means = {item: fmean(places[other] for other in neighbors[item] or {item}) for item in row}
    row.sort(key=means.__getitem__)
    places.update({item: place for place, item in enumerate(row)})


def _top(rank: int) -> float:
    return MARGIN + rank * (NODE_HEIGHT + RANK_GAP)
