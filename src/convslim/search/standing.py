"""How far a search is, for whoever watches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from convslim.search.candidate import Candidate


@dataclass(frozen=True)
class Standing:
    """How far a search is.

    Attributes:
        finished, total: Candidates; the total falls where a space has fewer new plans.
        generation: The open one; −1 is the sensitivity table.
        best: The best candidate so far.
    """

    finished: int
    total: int
    generation: int
    best: Candidate | None


Watch = Callable[[Standing], object]
