"""What a network shows of itself on a batch, and what a guidance loss makes of two such views."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch.nn.functional as F
from torch import Tensor


class Views(NamedTuple):
    """Class scores (N, K) and feature maps (N, C, H, W) at the positions that are compared."""

    scores: Tensor
    maps: tuple[Tensor, ...] = ()


class GuidanceLoss(Protocol):
    """A mean over the batch that is zero where student and teacher agree."""

    def __call__(self, student: Views, teacher: Views, labels: Tensor) -> Tensor:
        """A scalar; gradients go to the student's view alone."""
        ...


def same_size(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Two batches of maps, averaged down to the smaller height and width of both."""
    size = (min(left.shape[2], right.shape[2]), min(left.shape[3], right.shape[3]))
    return tuple(  # type: ignore[return-value]
        maps if tuple(maps.shape[2:]) == size else F.adaptive_avg_pool2d(maps, size) for maps in (left, right)
    )
