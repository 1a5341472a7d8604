"""What candidates are measured by: a seam between the search, which compares values, and tasks, which differ in them.

Labels are counted here. Whoever runs a search for another task gives a measure of its own, beside the images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from convslim.errors import DataError, ModelError
from convslim.search.evaluation import Evaluation
from convslim.search.evaluation_bound import is_hopeless


class Tally(Protocol):
    """One candidate's outputs, compared with the targets of batch after batch."""

    def add_(self, outputs: Any, targets: Any) -> None:
        """Take a batch in: outputs that were checked, and as many targets."""

    def is_hopeless(self, below: float, *, total: int, looks: int, error: float) -> bool:
        """True once the value of all images is taken to stay below a share; never, where that is not known early.

        Args:
            below: The share.
            total: All images.
            looks: How often the question is asked of one candidate, at most.
            error: Probability with which a candidate may be given up that would have reached the share.
        """

    def evaluation(self, *, complete: bool, seconds: float) -> Evaluation:
        """The result of the batches so far."""


class Measure(Protocol):
    """Compares what candidates give with what is in the images."""

    def checked(self, outputs: Any, images: Tensor, targets: Any) -> Any:
        """A network's outputs for a batch, as a tally takes them.

        Raises:
            ModelError: They are something else than the task needs.
            DataError: The targets do not fit them.
        """

    def tally(self) -> Tally:
        """A tally that has seen no batch yet."""


@dataclass
class RightLabels:
    """A tally of labels that are the largest output.

    Attributes:
        correct: Right ones.
        seen: Images.
    """

    correct: int = 0
    seen: int = 0

    def add_(self, outputs: Tensor, targets: Tensor) -> None:
        """Take a batch in."""
        self.correct += int((outputs.argmax(1) == targets).sum())
        self.seen += len(targets)

    def is_hopeless(self, below: float, *, total: int, looks: int, error: float) -> bool:
        """See :func:`~convslim.search.evaluation_bound.is_hopeless`."""
        return is_hopeless(self.correct, self.seen, total, below=below, looks=looks, error=error)

    def evaluation(self, *, complete: bool, seconds: float) -> Evaluation:
        """The counts."""
        return Evaluation(self.correct, self.seen, complete, seconds)


@dataclass(frozen=True)
class Labels:
    """Class scores, (N, num_classes), and one label per image, (N,): the share of right ones.

    >>> import torch
    >>> tally = Labels().tally()
    >>> tally.add_(torch.tensor([[0.1, 0.9], [0.7, 0.3]]), torch.tensor([1, 1]))
    >>> tally.evaluation(complete=True, seconds=0.1).measured
    0.5
    """

    def checked(self, outputs: Any, images: Tensor, targets: Tensor) -> Tensor:
        """The class scores.

        Raises:
            ModelError: They are no tensor of that shape.
            DataError: A label is no class of the network.
        """
        if not isinstance(outputs, Tensor) or outputs.dim() != 2 or len(outputs) != len(images):
            found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise ModelError(
                f"The network returned {found} for a batch of shape {tuple(images.shape)}; candidates are judged by "
                f"class scores, a tensor of shape ({len(images)}, num_classes). Give the network that the data set "
                "is for."
            )
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= outputs.shape[1]:
            raise DataError(
                f"Labels run from {low} to {high}, but the network scores {outputs.shape[1]} classes. "
                "Correct the labels, or give the network that belongs to them."
            )
        return outputs

    def tally(self) -> RightLabels:
        """A count of right ones."""
        return RightLabels()
