"""From ranked blocks and budgets to widths: bisection, then filling up, then exchanging blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convslim.allocate.widths import Blocks, Ints
from convslim.measure.cost import CostModel

CLOSE = 0.99
"""A budget is hit if at least this fraction of it is used."""

MAX_EXCHANGES = 64
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
        counts = self.blocks.counts(self.model.sizes, cut)
        counts = self._filled(counts)
        for _ in range(MAX_EXCHANGES):
            better = self._exchanged(counts) if self._use(counts) < CLOSE else None
            if better is None:
                break
            counts = self._filled(better)
        return counts, cut

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
        """Take one block away and put another back so that more of the budget is used; None if no pair does.

        Of the pairs that hit the budget the one that loses least importance, else the one that uses most.
        """
        blocks = self.blocks
        back = np.flatnonzero(blocks.low == counts[blocks.group])
        away = np.flatnonzero(blocks.high == counts[blocks.group])
        pairs = np.stack(np.meshgrid(back, away, indexing="ij"), -1).reshape(-1, 2)
        pairs = pairs[blocks.group[pairs[:, 0]] != blocks.group[pairs[:, 1]]]
        best: tuple[float, float] = (self._use(counts), np.inf)
        chosen: Ints | None = None
        for start in range(0, len(pairs), _BATCH):
            put, take = pairs[start : start + _BATCH].T
            tried = np.repeat(counts[None], len(put), axis=0)
            row = np.arange(len(put))
            tried[row, blocks.group[put]] = blocks.high[put]
            tried[row, blocks.group[take]] = blocks.low[take]
            use = (self.model.evaluate(tried) / self.limits).max(-1)
            use[use > 1] = 0
            gain = self._worth(put) - self._worth(take)
            rank = np.lexsort((gain, np.minimum(use, CLOSE)))[-1]
            found = (min(float(use[rank]), CLOSE), float(gain[rank]))
            if found > best:
                best, chosen = found, tried[rank]
        return chosen

    def _worth(self, blocks: Ints) -> npt.NDArray[np.float64]:
        return self.blocks.value[blocks] * (self.blocks.high - self.blocks.low)[blocks]
