"""What is known of one candidate, and who finds it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from convslim.surgery.plan import PruningPlan


@dataclass(frozen=True)
class Evaluation:
    """One candidate on held-out training images, after its BatchNorm statistics were estimated anew.

    Attributes:
        correct: Images whose label is the largest output; None where an image is neither right nor wrong.
        total: Images looked at; fewer than there are when the candidate was given up early.
        complete: False if it was given up early, because it could no longer reach `hopeless_below`.
        seconds: Wall time of the evaluation.
        value: Between 0 and 1, higher is better: what the task measures where it counts no right images.

    >>> Evaluation(correct=3, total=4, complete=True, seconds=0.1).measured
    0.75
    >>> Evaluation(correct=None, total=4, complete=True, seconds=0.1, value=0.6).measured
    0.6
    """

    correct: int | None
    total: int
    complete: bool
    seconds: float
    value: float | None = None

    @property
    def measured(self) -> float:
        """Share of the images looked at that are right, or `value` where they are neither right nor wrong."""
        return value_of(self.correct, self.total, self.value)

    def outcome(self) -> dict[str, Any]:
        """What was measured as JSON values: `correct` of `total`, and `value` where there is one."""
        return {"correct": self.correct, "total": self.total} | ({} if self.value is None else {"value": self.value})


def value_of(correct: int | None, total: int, value: float | None) -> float:
    """The share of right ones, or the value where none were counted."""
    if correct is not None:
        return correct / total
    assert value is not None, "what is not counted has a value"
    return value


class Evaluator(Protocol):
    """Judges candidates of one network; the network stays as it is."""

    def __call__(self, plan: PruningPlan, *, hopeless_below: float | None = None) -> Evaluation:
        """Judge one candidate.

        Args:
            plan: Made for the network's structure.
            hopeless_below: Give up once it is clear that all images together stay below this value, where that can
                be known early.
        """
        ...
