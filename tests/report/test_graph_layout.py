"""The layout of a drawn graph: what no picture may break, on random graphs and on the shapes of real networks."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import isotonic_regression

from convslim.report.graph_layout import MOST_PER_RANK, NODE_GAP, Layout, ascending, lay_out, ranks_of

Links = list[tuple[int, int]]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Links, list[float]]:
    count = draw(st.integers(1, 14))
    nodes = st.integers(0, count - 1)
    links = draw(st.lists(st.tuples(nodes, nodes).filter(lambda link: link[0] != link[1]), unique=True, max_size=40))
    return links, draw(st.lists(st.floats(50, 200), min_size=count, max_size=count))


def check(layout: Layout, links: Links) -> None:
    for first, second in combinations(layout.boxes, 2):
        if first.y == second.y:
            assert abs(first.x - second.x) >= (first.width + second.width) / 2 + NODE_GAP - 1e-6
    for box in layout.boxes:
        assert 0 <= box.x - box.width / 2 <= box.x + box.width / 2 <= layout.width
        assert 0 <= box.y <= box.y + box.height <= layout.height
    assert [(line.source, line.target) for line in layout.lines] == links
    for line in layout.lines:
        ends = [layout.boxes[line.target], layout.boxes[line.source]]
        upper, lower = ends if line.returns else ends[::-1]
        assert upper.y < lower.y
        assert line.points[0][1] == upper.y + upper.height
        assert line.points[-1][1] == lower.y
        assert all(here[1] < there[1] for here, there in pairwise(line.points))
        # Between its ends a line passes no box.
        for x, y in line.points[1:-1]:
            assert all(abs(x - box.x) > box.width / 2 for box in layout.boxes if box.y <= y <= box.y + box.height)


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_boxes_and_lines_keep_apart(graph: tuple[Links, list[float]]):
    links, widths = graph
    check(lay_out(links, widths), links)


def test_nothing_to_draw():
    layout = lay_out([], [])
    assert layout.boxes == layout.lines == ()
    assert min(layout.width, layout.height) > 0


def test_a_chain_is_straight():
    layout = lay_out([(node, node + 1) for node in range(9)], [80.0 + 10 * node for node in range(10)])
    assert np.ptp([box.x for box in layout.boxes]) < 1e-6
    assert not any(line.returns for line in layout.lines)


def test_a_residual_trunk_has_its_blocks_below_it():
    # 0 is the trunk; 1, 2, 3 are blocks that read it and add to it; 4 follows.
    links = [(0, 1), (1, 0), (0, 2), (2, 0), (0, 3), (3, 0), (0, 4)]
    layout = lay_out(links, [100.0] * 5)
    assert ranks_of(5, links) == [0, 1, 1, 1, 1]
    assert [line.returns for line in layout.lines] == [False, True] * 3 + [False]


def test_wide_ranks_are_broken():
    links = [(0, node) for node in range(1, 36)]
    ranks = ranks_of(36, links)
    assert max(np.bincount(ranks)) == MOST_PER_RANK
    assert max(ranks) == 5


def test_first_of_the_order_begins_a_cycle():
    assert ranks_of(4, [(3, 0), (0, 1), (1, 2), (2, 3)]) == [0, 1, 2, 3]


def test_a_dense_block_stays_narrow():
    """24 layers that each read all before them: one column, and beside it one bundle for each layer."""
    pairs = [(2 * layer, 2 * layer + 1) for layer in range(24)]
    links = pairs + [(2 * early + 1, 2 * late) for late in range(24) for early in range(late)]
    layout = lay_out(links, [130.0] * 48)
    check(layout, links)
    assert layout.width < 500
    assert len({box.y for box in layout.boxes}) == 48


@pytest.mark.parametrize("seed", range(5))
def test_nearest_ascending_numbers(seed: int):
    generator = np.random.default_rng(seed)
    wanted, weights = generator.normal(size=12), generator.uniform(0.1, 50, size=12)
    expected = isotonic_regression(wanted, sample_weight=weights)
    assert ascending(wanted.tolist(), weights.tolist()) == pytest.approx(expected.tolist())
