"""Which widths a group may have, and the order of its blocks."""

import numpy as np
import pytest

from convslim import ChannelGroup, ParamAxis
from convslim.allocate.widths import Rounding, allowed_counts, ranked_blocks
from convslim.errors import PlanError


def group(size: int, *spans: int) -> ChannelGroup:
    axes = (ParamAxis(f"t{n}", 0, np.arange(size * s).reshape(size, s), "out") for n, s in enumerate(spans or (1,)))
    return ChannelGroup("g", size, tuple(axes), ("g",), ())


@pytest.mark.parametrize(
    ("size", "spans", "round_to", "expected"),
    [
        (32, (1,), 8, [8, 16, 24, 32]),
        (4, (1,), 1, [1, 2, 3, 4]),
        (20, (1,), 8, [8, 16, 20]),  # a width that is no multiple to begin with
        (6, (1,), 8, [6]),  # too narrow
        (8, (1,), 8, [8]),
        (16, (1, 49), 8, [8, 16]),  # flattened in front of a linear layer
        (32, (4,), 8, [2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32]),  # conv groups of 4
        (16, (4, 1), 8, [8, 16]),  # pixel shuffle: 4 positions before, 1 after
        (4, (32, 1), 8, [1, 2, 3, 4]),  # the axis that is 4 wide is not asked, the one that is 128 wide is
        (12, (2, 3), 8, [8, 12]),
        (10, (3,), 6, [2, 4, 6, 8, 10]),
    ],
)
def test_every_axis_stays_a_multiple(size: int, spans: tuple[int, ...], round_to: int, expected: list[int]) -> None:
    assert allowed_counts(group(size, *spans), Rounding(round_to, 1, 0.0)).tolist() == expected


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        (Rounding(1, 1, 0.0), list(range(1, 11))),
        (Rounding(1, 4, 0.0), list(range(4, 11))),
        (Rounding(1, 1, 0.75), [8, 9, 10]),
        (Rounding(1, 99, 0.0), [10]),
        (Rounding(4, 5, 0.0), [8, 10]),
        (Rounding(1, 1, 1.0), [10]),
    ],
)
def test_the_least_that_stays(rounding: Rounding, expected: list[int]) -> None:
    assert allowed_counts(group(10), rounding).tolist() == expected


@pytest.mark.parametrize("wrong", [(0, 1, 0.1), (8, 0, 0.1), (8, 1, -0.1), (8, 1, 1.5)])
def test_impossible_rounding(wrong: tuple[int, int, float]) -> None:
    with pytest.raises(PlanError, match=r"round_to|min_ratio"):
        Rounding(*wrong)


def test_blocks_are_ranked_by_their_mean_score() -> None:
    blocks = ranked_blocks([0, 2], [np.array([2, 4]), np.array([1, 2, 3])], [np.arange(4.0), np.array([9.0, 0, 1.0])])
    assert blocks.group.tolist() == [2, 0, 2]
    assert blocks.high.tolist() == [3, 4, 2]
    assert blocks.low.tolist() == [2, 2, 1]
    assert blocks.value.tolist() == [0, 0.5, 1]
    assert blocks.counts(np.array([4, 7, 3]), np.arange(2)).tolist() == [2, 7, 2]


def test_without_scores_every_group_loses_the_same_fraction() -> None:
    blocks = ranked_blocks([0, 1], [np.arange(1, 11), np.arange(1, 101)], None)
    sizes = np.array([10, 100])
    for removed in range(len(blocks.group) + 1):
        left = blocks.counts(sizes, np.arange(removed)) / sizes
        assert abs(left[0] - left[1]) < 0.1


def test_equal_scores_go_from_all_groups() -> None:
    blocks = ranked_blocks([0, 1], [np.arange(1, 11), np.arange(1, 11)], [np.ones(10), np.ones(10)])
    assert blocks.counts(np.array([10, 10]), np.arange(8)).tolist() == [6, 6]


def test_nothing_to_rank() -> None:
    assert ranked_blocks([], [], []).counts(np.array([3]), np.arange(0)).tolist() == [3]
    assert len(ranked_blocks([0], [np.array([3])], [np.ones(3)]).group) == 0
