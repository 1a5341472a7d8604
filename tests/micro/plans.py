"""Random plans, and what a plan removes from every tensor."""

from collections.abc import Mapping, Sequence

import numpy as np

from convslim import ChannelGraph


def removed_positions(graph: ChannelGraph, kept: Mapping[str, Sequence[int]]) -> dict[tuple[str, int], set[int]]:
    """Positions by tensor and dimension that a plan removes, from the graph's axes alone."""
    positions: dict[tuple[str, int], set[int]] = {}
    for group in graph.groups:
        lost = sorted(set(range(group.num_channels)) - set(kept.get(group.name, range(group.num_channels))))
        for axis in group.axes:
            if lost:
                positions.setdefault((axis.tensor, axis.dim), set()).update(axis.index[lost].ravel().tolist())
    return positions


def random_kept(graph: ChannelGraph, share: float, seed: int, least: int = 1) -> dict[str, tuple[int, ...]]:
    """A random part of the channels of every prunable group, at least `least` of each where there are as many."""
    rng = np.random.default_rng(seed)
    return {
        group.name: tuple(
            sorted(rng.permutation(group.num_channels)[: max(least, round(share * group.num_channels))].tolist())
        )
        for group in graph.prunable
    }
