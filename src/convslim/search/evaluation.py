"""What is known of one candidate, and who finds it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from convslim.surgery.plan import PruningPlan


@dataclass(frozen=True)
class Evaluation:
    """One candidate on held-out training images, after its BatchNorm statistics were estimated anew.

    Attributes:
        correct: Images whose label is the largest output.
        total: Images looked at; fewer than there are when the candidate was given up early.
        complete: False if it was given up early, because it could no longer reach `hopeless_below`.
        seconds: Wall time of the evaluation.

    >>> Evaluation(correct=3, total=4, complete=True, seconds=0.1).accuracy
    0.75
    """

    correct: int
    total: int
    complete: bool
    seconds: float

    @property
    def accuracy(self) -> float:
        """Share of the images looked at that are right."""
        return self.correct / self.total


class Evaluator(Protocol):
    """Judges candidates of one network; the network stays as it is."""

    def __call__(self, plan: PruningPlan, *, hopeless_below: float | None = None) -> Evaluation:
        """Judge one candidate.

        Args:
            plan: Made for the network's structure.
            hopeless_below: Give up once it is clear that the accuracy on all images stays below this share.
        """
        ...
