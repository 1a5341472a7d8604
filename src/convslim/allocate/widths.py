"""Which numbers of channels a group may keep, and the blocks of channels between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convslim.channels.graph import ChannelGroup
from convslim.errors import PlanError

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rounding:
    """Which widths are wanted.

    Attributes:
        round_to: Widths of pruned axes are multiples of this.
        min_channels: The fewest channels that a group keeps.
        min_ratio: The smallest fraction of its channels that a group keeps.
    """

    round_to: int = 8
    min_channels: int = 1
    min_ratio: float = 0.1

    def __post_init__(self) -> None:
        if self.round_to < 1 or self.min_channels < 1:
            raise PlanError(
                f"round_to={self.round_to} and min_channels={self.min_channels} must be at least 1; "
                "round_to=1 allows every width."
            )
        if not 0 <= self.min_ratio <= 1:
            raise PlanError(f"min_ratio={self.min_ratio} is a fraction of a group's channels, from 0 to 1.")


def allowed_counts(group: ChannelGroup, rounding: Rounding) -> Ints:
    """The numbers of channels that a group may keep, ascending; the last is the whole group.

    >>> from convslim.channels.graph import ParamAxis
    >>> axis = ParamAxis("conv.weight", 0, np.arange(40).reshape(20, 2), "out")  # two positions a channel
    >>> allowed_counts(ChannelGroup("conv", 20, (axis,), ("conv",), ()), Rounding(round_to=8))
    array([ 4,  8, 12, 16, 20])
    """
    size, round_to = group.num_channels, rounding.round_to
    spans = {axis.index.shape[1] for axis in group.axes}
    steps = [round_to // math.gcd(round_to, span) for span in spans if size * span >= round_to]
    if not steps:
        return np.array([size], np.int64)
    step = math.lcm(*steps)
    least = max(rounding.min_channels, math.ceil(rounding.min_ratio * size), 1)
    counts = np.arange(step, size, step, dtype=np.int64)
    return np.append(counts[counts >= least], size)


@dataclass(frozen=True, eq=False)
class Blocks:
    """The blocks of channels that can go, least important first; all arrays have the shape ``(num_blocks,)``.

    Within a group they are in the order in which they must go.

    Attributes:
        group: Position of the group in the count vector.
        low: Channels that the group keeps without the block.
        high: Channels that it keeps with the block.
        value: Importance, never falling along the array. Of equally important blocks the one that leaves the
            larger fraction of its group goes first, which spreads ties over the groups.
    """

    group: Ints
    low: Ints
    high: Ints
    value: npt.NDArray[np.float64]

    def counts(self, sizes: Ints, removed: npt.NDArray[np.intp]) -> Ints:
        """Kept channels per group when the given blocks are gone, each with those of its group that go before it."""
        counts = sizes.copy()
        np.minimum.at(counts, self.group[removed], self.low[removed])
        return counts


def ranked_blocks(
    groups: Sequence[int], allowed: Sequence[Ints], scores: Sequence[npt.NDArray[np.float64]] | None
) -> Blocks:
    """The blocks of all groups, ranked.

    Args:
        groups: Positions of the groups in the count vector.
        allowed: What each may keep, ascending.
        scores: Scores of each group's channels: a block counts as the mean of its channels. None ranks by
            position instead, which takes the same fraction of every group.
    """
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    for place, (group, counts) in enumerate(zip(groups, allowed, strict=True)):
        low, high = counts[:-1][::-1], counts[1:][::-1]
        gone = 1 - (low + high) / (2 * counts[-1])
        value = gone if scores is None else _mean_scores(scores[place], low, high)
        parts.append((np.full(len(low), group), low, high, gone, value))
    if not parts:
        empty = np.zeros(0, np.int64)
        return Blocks(empty, empty, empty, np.zeros(0))
    group_of, low, high, gone, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((group_of, gone, value))
    return Blocks(group_of[order], low[order], high[order], value[order])


def _mean_scores(scores: npt.NDArray[np.float64], low: Ints, high: Ints) -> npt.NDArray[np.float64]:
    """Mean score of every block; it never falls: blocks are ranked in the order in which they must go."""
    total = np.concatenate([[0.0], np.cumsum(np.sort(scores)[::-1])])
    return np.maximum.accumulate((total[high] - total[low]) / (high - low))
