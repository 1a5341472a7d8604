"""A worker on the landscape as a process of its own: storage, seconds per candidate, file to note evaluations in."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.search.landscape import Landscape, search, space

from convslim.search.evaluation import Evaluation
from convslim.search.settings import SearchSettings
from convslim.surgery.plan import PruningPlan


class Announced(Landscape):
    """Says that an evaluation has begun, and how many there were."""

    def __call__(self, plan: PruningPlan, *, hopeless_below: float | None = None) -> Evaluation:
        Path(sys.argv[3]).write_text(str(len(self.seen) + 1))
        return super().__call__(plan, hopeless_below=hopeless_below)


if __name__ == "__main__":
    settings = SearchSettings(population=6, generations=3, seed=1)
    worker = search(sys.argv[1], Announced(sleep=float(sys.argv[2])), settings, searched=space(), poll=0.05, grace=60.0)
    worker.work()
