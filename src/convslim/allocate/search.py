"""From ranked blocks and budgets to widths: bisection, then filling up, then exchanging blocks."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convslim.allocate.widths import Blocks, Ints
from convslim.measure.cost import CostModel

CLOSE = 0.99
"""A budget is hit if at least this fraction of it is used."""

MAX_STARTS = 24
MAX_EXCHANGES = 64
MAX_TRIED = 300_000
"""Exchanges that are tried at once; networks with more of them have fine steps enough for pairs."""

_BATCH = 4096


@dataclass(frozen=True, eq=False)
class Search:
    """Widths within the budgets, see :meth:`run`.

    Attributes:
        model: The cost of a count vector.
        blocks: What can go.
        limits: The largest allowed cost per metric.
    """

    model: CostModel
    blocks: Blocks
    limits: Ints

    def run(self) -> tuple[Ints, int]:
        """Kept channels per group, and how many blocks lie below the threshold.

        The budgets must be reachable: the cost with all blocks gone is within them.
        """
        cut = self._threshold()
        best = self._improved(self.blocks.counts(self.model.sizes, cut))
        # Where steps are coarse the search can end in a dead end; a deeper cut is another place to start from.
        for deeper in range(cut + 1, min(cut + MAX_STARTS, len(self.blocks.group) + 1)):
            if self._use(best) >= CLOSE:
                break
            found = self._improved(self.blocks.counts(self.model.sizes, deeper))
            best = max(best, found, key=self._use)
        return best, cut

    def _improved(self, counts: Ints) -> Ints:
        """Fill up, and exchange blocks for as long as that uses more and the budget is not hit."""
        counts = self._filled(counts)
        for _ in range(MAX_EXCHANGES):
            better = self._exchanged(counts) if self._use(counts) < CLOSE else None
            if better is None:
                break
            counts = self._filled(better)
        return counts

    def _use(self, counts: Ints) -> float:
        """Used fraction of the budget that binds."""
        return float((self.model.evaluate(counts) / self.limits).max())

    def _threshold(self) -> int:
        """The fewest blocks, from the front, that have to go."""
        low, high = 0, len(self.blocks.group)
        while low < high:
            middle = (low + high) // 2
            if self._use(self.blocks.counts(self.model.sizes, middle)) <= 1:
                high = middle
            else:
                low = middle + 1
        return low

    def _filled(self, counts: Ints) -> Ints:
        """Put blocks back, the most important that fits first, until the budget is used or none fits.

        A block that does not fit never will: its cost grows with the other widths.
        """
        blocks, counts = self.blocks, counts.copy()
        stuck = np.zeros(len(counts), bool)
        use = self._use(counts)
        for block in range(len(blocks.group) - 1, -1, -1):
            if use >= CLOSE:
                break
            group = blocks.group[block]
            if stuck[group] or counts[group] != blocks.low[block]:
                continue
            counts[group] = blocks.high[block]
            grown = self._use(counts)
            if grown <= 1:
                use = grown
            else:
                counts[group] = blocks.low[block]
                stuck[group] = True
        return counts

    def _exchanged(self, counts: Ints) -> Ints | None:
        """Take blocks away and put others back, two to four in all, so that more of the budget is used.

        Of the exchanges that hit the budget the one that loses least importance, else the one that uses most;
        None if none uses more than now.
        """
        blocks = self.blocks
        now = counts[blocks.group]
        moves = np.flatnonzero((blocks.low == now) | (blocks.high == now))
        puts = blocks.low[moves] == now[moves]
        best: Ints | None = None
        for size in (2, 3, 4):
            if math.comb(len(moves), size) > MAX_TRIED:
                break
            chosen = np.array(list(itertools.combinations(range(len(moves)), size)), np.intp).reshape(-1, size)
            mixed = puts[chosen].any(1) & ~puts[chosen].all(1)
            groups = np.sort(blocks.group[moves[chosen]], axis=1)
            found = self._best(counts, moves[chosen[mixed & (np.diff(groups, axis=1) > 0).all(1)]])
            if found is not None and (best is None or self._use(found) > self._use(best)):
                best = found
            if best is not None and self._use(best) >= CLOSE:
                break
        return best

    def _best(self, counts: Ints, exchanges: npt.NDArray[np.intp]) -> Ints | None:
        """The best of many exchanges, each a row of blocks of different groups; None if none uses more."""
        blocks = self.blocks
        best, chosen = (self._use(counts), np.inf), None
        for start in range(0, len(exchanges), _BATCH):
            batch = exchanges[start : start + _BATCH]
            group = blocks.group[batch]
            puts = blocks.low[batch] == counts[group]
            tried = np.repeat(counts[None], len(batch), axis=0)
            np.put_along_axis(tried, group, np.where(puts, blocks.high[batch], blocks.low[batch]), axis=1)
            use = (self.model.evaluate(tried) / self.limits).max(-1)
            use[use > 1] = 0
            worth = blocks.value[batch] * (blocks.high - blocks.low)[batch]
            gain = np.where(puts, worth, -worth).sum(1)
            first = np.lexsort((gain, np.minimum(use, CLOSE)))[-1]
            found = (min(float(use[first]), CLOSE), float(gain[first]))
            if found > best:
                best, chosen = found, tried[first]
        return chosen
