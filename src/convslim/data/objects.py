"""The objects in an image: boxes with classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of one image.

    Attributes:
        boxes: (n, 4) float32, left, top, right, bottom in pixels; the image's left upper corner is 0, 0.
        labels: (n,) int64 classes.
        difficult: (n,) bool; such objects count neither way in an evaluation.
        weights: (n,) float32, weight of each in the loss: below 1 in an image that was mixed with another.
    """

    boxes: Tensor
    labels: Tensor
    difficult: Tensor
    weights: Tensor

    @staticmethod
    def of(boxes: Tensor, labels: Tensor, difficult: Tensor | None = None) -> Objects:
        """Objects that all have the weight 1.

        >>> Objects.of(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([2])).weights
        tensor([1.])
        """
        none = torch.zeros(len(labels), dtype=torch.bool)
        return Objects(
            boxes.float().reshape(-1, 4),
            labels.long(),
            none if difficult is None else difficult.bool(),
            torch.ones(len(labels)),
        )

    def to(self, device: torch.device | str) -> Objects:
        """The same on a device."""
        return Objects(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.labels)
