"""Removing channels one by one, where every removal changes how replaceable the others are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Importance = Callable[[Floats], Floats]


class Neighbors:
    """Mean distance of every channel to its k nearest ones that are left, at several places.

    Each channel's neighbors are sorted once; after that a removal looks at the next ones only, so that removing all
    channels costs ``O(places · C²)``, whatever k.

    Args:
        difference: ``(places, C, C)``.
        count: k; all others if there are not so many.
    """

    def __init__(self, difference: Floats, count: int) -> None:
        places, self._channels, _ = difference.shape
        self._rows = places * self._channels
        self._difference = difference.reshape(self._rows, self._channels)
        own = np.tile(np.arange(self._channels), places)
        far = self._difference.copy()
        far[np.arange(self._rows), own] = np.inf
        self._order = np.argsort(far, axis=1, kind="stable")[:, : self._channels - 1]
        self._rank = np.full(far.shape, self._channels)
        np.put_along_axis(self._rank, self._order, np.arange(self._channels - 1)[None], 1)
        self._alive = np.ones(self._channels, dtype=bool)
        count = min(count, self._channels - 1)
        self._reach = np.full(self._rows, count)
        self._count = np.full(self._rows, count)
        self._total = np.take_along_axis(self._difference, self._order[:, :count], 1).sum(1)
        self._usual = self._distance().mean(1, keepdims=True)

    def substitutability(self) -> Floats:
        """``S_c = exp(−d_c / mean(d))``, ``(places, C)``; 0 for the last channel that is left.

        The mean is that of the whole group, before any removal: so S of those that are left never rises for k = 1.
        """
        distance = self._distance()
        ratio = np.divide(distance, self._usual, out=np.zeros_like(distance), where=self._usual > 0)
        return np.where(self._count.reshape(distance.shape) > 0, np.exp(-ratio), 0.0)

    def _distance(self) -> Floats:
        distance: Floats = np.maximum(self._total, 0.0) / np.maximum(self._count, 1)
        return distance.reshape(-1, self._channels)

    def remove_(self, channel: int) -> None:
        """Take a channel away: who had it among the nearest gets the next one instead."""
        self._alive[channel] = False
        rows = np.flatnonzero(self._rank[:, channel] < self._reach)
        self._total[rows] -= self._difference[rows, channel]
        while len(rows):
            done = self._reach[rows] >= self._channels - 1
            self._count[rows[done]] -= 1
            rows = rows[~done]
            candidate = self._order[rows, self._reach[rows]]
            self._reach[rows] += 1
            left = self._alive[candidate]
            self._total[rows[left]] += self._difference[rows[left], candidate[left]]
            rows = rows[~left]


def removal_scores(neighbors: Neighbors, importance: Importance, channels: int) -> Floats:
    """Scores of channels that go one by one, always the least important of those that are left.

    A channel's score is its importance when it goes. Where an earlier one was more important it is that one's, which
    only means over several neighbors, or S instead of 1 − S, can bring about: removing channels in the order of their
    scores is removing them one by one. A factor of up to 1 + 1e-9·C keeps the order of equal ones.

    Args:
        neighbors: Nobody removed yet.
        importance: From substitutability ``(places, C)`` to importance ``(C,)``.
        channels: C.

    >>> differences = np.array([[[0.0, 0.0, 4.0], [0.0, 0.0, 4.0], [4.0, 4.0, 0.0]]])
    >>> removal_scores(Neighbors(differences, 1), lambda nearness: 1 - nearness[0], 3).round(3)
    array([0.  , 0.95, 1.  ])
    """
    scores = np.zeros(channels)
    alive = np.ones(channels, dtype=bool)
    highest = 0.0
    for step in range(channels):
        now = np.where(alive, importance(neighbors.substitutability()), np.inf)
        chosen = int(now.argmin())
        highest = max(highest, float(now[chosen]))
        scores[chosen] = highest * (1 + 1e-9 * step)
        alive[chosen] = False
        if step < channels - 1:
            neighbors.remove_(chosen)
    return scores
