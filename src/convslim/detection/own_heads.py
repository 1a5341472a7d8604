"""Outputs of a detector of the user's: a loss and a way to boxes that the user wrote."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only

from convslim.data.heads import Detections
from convslim.data.objects import Objects
from convslim.errors import ModelError
from convslim.models.user_code import call_factory

_FIELDS = ("boxes", "scores", "labels")


class UserHeads(Protocol):
    """What a user writes for a detector; see docs/detection.md for one of torchvision's."""

    def loss(self, outputs: Any, targets: Sequence[Objects], shape: tuple[int, ...]) -> Tensor:
        """The mean loss of an image, from outputs in float32, the objects of every image, and (N, 3, side, side)."""

    def detect(self, outputs: Any, shape: tuple[int, ...]) -> Sequence[Detections | Mapping[str, Tensor]]:
        """Boxes in pixels, scores and classes of every image, overlapping boxes suppressed."""


@dataclass(frozen=True)
class Answer:
    """What a detector gave for a batch of images of this shape."""

    outputs: Any
    shape: tuple[int, ...]


@dataclass(frozen=True)
class OwnHeads:
    """A user's heads, and what is asked of them.

    Attributes:
        given: The user's object.
        spec: Where it came from, for errors.
    """

    given: UserHeads
    spec: str

    def checked(self, outputs: Any, images: Tensor, targets: Sequence[Objects], name: str) -> Answer:
        """The outputs in float32.

        Raises:
            ModelError: There is no tensor in them.
        """
        if not any(isinstance(leaf, Tensor) for leaf in tree_flatten(outputs)[0]):
            raise ModelError(
                f"{name} returned {type(outputs).__name__} without a tensor; {self.spec} cannot read that."
            )
        return Answer(tree_map_only(Tensor, _float32, outputs), tuple(images.shape))

    def loss(self, outputs: Answer, targets: Sequence[Objects], smoothing: float) -> Tensor:
        """What the user's loss says; it knows of no smoothing of labels.

        Raises:
            ModelError: That is no scalar tensor.
        """
        found = self.given.loss(outputs.outputs, targets, outputs.shape)
        if not isinstance(found, Tensor) or found.numel() != 1:
            what = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ModelError(f"loss of {self.spec} returned {what}; it must return the mean loss, a scalar tensor.")
        return found.reshape(())

    def detect(self, outputs: Answer, *, threshold: float, overlap: float) -> list[Detections]:
        """The user's boxes with a score above the threshold, the surest first; suppression is the user's.

        Raises:
            ModelError: There are not boxes (n, 4), scores (n,) and labels (n,) for every image.
        """
        found = list(self.given.detect(outputs.outputs, outputs.shape))
        if len(found) != outputs.shape[0]:
            raise ModelError(f"detect of {self.spec} returned {len(found)} results for {outputs.shape[0]} images.")
        return [self._surest(each, threshold) for each in found]

    def guessing(self, num_objects: float) -> float:
        """Not known: a training is never stopped for a large loss."""
        return math.inf

    def _surest(self, found: Detections | Mapping[str, Tensor], threshold: float) -> Detections:
        try:
            values = found if isinstance(found, Mapping) else vars(found)
            boxes, scores, labels = (torch.as_tensor(values[name]).detach() for name in _FIELDS)
            fits = boxes.shape == (len(scores), 4) and scores.ndim == 1 and labels.shape == scores.shape
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"detect of {self.spec} returned no boxes, scores and labels: {error!r}.") from error
        if not fits:
            raise ModelError(
                f"detect of {self.spec} returned boxes {tuple(boxes.shape)}, scores {tuple(scores.shape)} and labels "
                f"{tuple(labels.shape)} for an image; (n, 4), (n,) and (n,) are expected."
            )
        order = scores.sort(descending=True, stable=True).indices
        order = order[scores[order] > threshold]
        return Detections(boxes[order].float(), scores[order].float(), labels[order].long())


def own_heads(spec: str) -> OwnHeads:
    """Heads from the user's code.

    Args:
        spec: `package.module:factory` or `path/to/file.py:factory`; a class with `loss` and `detect` is one.

    Raises:
        ModelError: It cannot be imported, or has no `loss` and `detect`.
    """
    given = call_factory(spec, {}, error=ModelError)
    missing = [name for name in ("loss", "detect") if not callable(getattr(given, name, None))]
    if missing:
        raise ModelError(
            f"'{spec}' gave a {type(given).__name__} without {' and '.join(missing)}; heads have the methods "
            "loss(outputs, targets, shape) and detect(outputs, shape)."
        )
    return OwnHeads(given, spec)


def _float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
