"""From ranked blocks and budgets to widths: a threshold, filling up, exchanging blocks, and other thresholds."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convslim.allocate.costs import CostFunction
from convslim.allocate.widths import Blocks, Ints

CLOSE = 0.99
"""A budget is hit if at least this fraction of it is used."""

MAX_STARTS = 24
MAX_EXCHANGES = 64
MAX_TRIED = 300_000
"""Exchanges that are tried at once; networks with more of them have fine steps enough for pairs."""

_BATCH = 4096

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Search:
    """Widths within the budgets, see :meth:`run`.

    Attributes:
        model: The cost of a count vector.
        blocks: What can go.
        limits: The largest allowed cost per metric.
    """

    model: CostFunction
    blocks: Blocks
    limits: Ints

    def run(self) -> tuple[Ints, int]:
        """Kept channels per group, and how many blocks lie below the threshold.

        The threshold cuts the fewest blocks that meet the budgets. If its last block is large, the cut can end far
        below the budget: other cuts are then looked at too, in which that block stays and later ones go. Of those
        that hit the budget the one that disagrees least with the threshold is taken, else the one that uses most.

        The budgets must be reachable: the cost with all blocks gone is within them.
        """
        open_blocks = np.ones(len(self.blocks.group), bool)
        cut = self._threshold(open_blocks)
        counts = self._cut(open_blocks, cut)
        if self._use(counts) >= CLOSE or not cut:
            return counts, cut
        doubt = self._doubt(cut)
        found = []
        last = cut
        for _ in range(MAX_STARTS):
            found.append(self._improved(self._cut(open_blocks, last), doubt))
            open_blocks[last - 1 :] &= self.blocks.group[last - 1 :] != self.blocks.group[last - 1]
            if self._use(self._cut(open_blocks, len(open_blocks))) > 1:
                break
            last = self._threshold(open_blocks)
        return max(found, key=lambda counts: (min(self._use(counts), CLOSE), -self._disagreement(counts, doubt))), cut

    def _use(self, counts: Ints) -> float:
        """Used fraction of the budget that binds."""
        return float((self.model.evaluate(counts) / self.limits).max())

    def _cut(self, open_blocks: Mask, num: int) -> Ints:
        """Kept channels per group when those of the first blocks that are open are gone."""
        return self.blocks.counts(self.model.sizes, np.flatnonzero(open_blocks[:num]))

    def _threshold(self, open_blocks: Mask) -> int:
        """The fewest blocks, from the front, that have to go."""
        low, high = 0, len(open_blocks)
        while low < high:
            middle = (low + high) // 2
            if self._use(self._cut(open_blocks, middle)) <= 1:
                high = middle
            else:
                low = middle + 1
        return low

    def _doubt(self, cut: int) -> npt.NDArray[np.float64]:
        """What it means to decide on a block otherwise than the threshold: its distance from it, times its channels.

        Positive for blocks that the threshold cuts, negative for the others.
        """
        blocks = self.blocks
        distance = np.abs(blocks.value - blocks.value[cut - 1]) * (blocks.high - blocks.low)
        return np.where(np.arange(len(distance)) < cut, distance, -distance)

    def _disagreement(self, counts: Ints, doubt: npt.NDArray[np.float64]) -> float:
        stays = counts[self.blocks.group] >= self.blocks.high
        return float(doubt[stays & (doubt > 0)].sum() - doubt[~stays & (doubt < 0)].sum())

    def _improved(self, counts: Ints, doubt: npt.NDArray[np.float64]) -> Ints:
        """Fill up, and exchange blocks for as long as that uses more and the budget is not hit."""
        counts = self._filled(counts)
        for _ in range(MAX_EXCHANGES):
            better = self._exchanged(counts, doubt) if self._use(counts) < CLOSE else None
            if better is None:
                break
            counts = self._filled(better)
        return counts

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

    def _exchanged(self, counts: Ints, doubt: npt.NDArray[np.float64]) -> Ints | None:
        """Take blocks away and put others back, two to four in all, so that more of the budget is used.

        Of the exchanges that hit the budget the one that disagrees least with the threshold, else the one that uses
        most; None if none uses more than now.
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
            found = self._best(counts, moves[chosen[mixed & (np.diff(groups, axis=1) > 0).all(1)]], doubt)
            if found is not None and (best is None or self._use(found) > self._use(best)):
                best = found
            if best is not None and self._use(best) >= CLOSE:
                break
        return best

    def _best(self, counts: Ints, exchanges: npt.NDArray[np.intp], doubt: npt.NDArray[np.float64]) -> Ints | None:
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
            agreement = np.where(puts, -doubt[batch], doubt[batch]).sum(1)
            first = np.lexsort((agreement, np.minimum(use, CLOSE)))[-1]
            found = (min(float(use[first]), CLOSE), float(agreement[first]))
            if found > best:
                best, chosen = found, tried[first]
        return chosen
