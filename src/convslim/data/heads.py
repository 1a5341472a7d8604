"""What a detector's outputs mean: a seam between the data, which asks, and the detectors, which differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from convslim.data.objects import Objects


@dataclass(frozen=True)
class Detections:
    """What was found in one image, the surest first.

    Attributes:
        boxes: (n, 4) in pixels.
        scores: (n,) probabilities.
        labels: (n,) int64 classes.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class Heads(Protocol):
    """Reads the outputs of one kind of detector."""

    def checked(self, outputs: Any, images: Tensor, targets: Sequence[Objects], name: str) -> Any:
        """The outputs of a network or a file for a batch, in float32, as `loss` and `detect` take them.

        Args:
            name: What errors call the network.

        Raises:
            ModelError: They are something else.
            DataError: An object has a class that they do not have.
        """

    def loss(self, outputs: Any, targets: Sequence[Objects], smoothing: float) -> Tensor:
        """The mean loss of an image of the batch, a scalar."""

    def detect(self, outputs: Any, *, threshold: float, overlap: float) -> list[Detections]:
        """What every image shows: scores above the threshold, no two boxes of a class that overlap more."""

    def guessing(self, num_objects: float) -> float:
        """The loss of a network that guesses, for so many objects in an image; infinite if that is not known."""
