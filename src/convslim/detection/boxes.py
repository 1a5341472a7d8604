"""Boxes as float tensors of shape (..., 4): left, top, right, bottom in pixels."""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-9  # pixels; keeps quotients of empty boxes finite


def area(boxes: Tensor) -> Tensor:
    """Width x height, (..., 4) → (...); boxes that are turned inside out have none."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp_min(0).prod(-1)


def intersection(left: Tensor, right: Tensor) -> Tensor:
    """Common area of boxes whose leading dimensions broadcast."""
    corners = torch.cat(
        [torch.maximum(left[..., :2], right[..., :2]), torch.minimum(left[..., 2:], right[..., 2:])], -1
    )
    return area(corners)


def iou(left: Tensor, right: Tensor) -> Tensor:
    """Intersection over union of boxes whose leading dimensions broadcast; 0 where both are empty.

    >>> a, b = torch.tensor([0.0, 0, 2, 2]), torch.tensor([1.0, 0, 3, 2])
    >>> round(float(iou(a, b)), 4)
    0.3333
    """
    common = intersection(left, right)
    return common / (area(left) + area(right) - common).clamp_min(TINY)


def generalized_iou(left: Tensor, right: Tensor) -> Tensor:
    """``IoU - (hull - union) / hull`` in [-1, 1], where the hull is the smallest box around both.

    References:
        H. Rezatofighi et al., *Generalized Intersection over Union*, CVPR 2019, arXiv:1902.09630.
    """
    common = intersection(left, right)
    union = area(left) + area(right) - common
    around = torch.cat([torch.minimum(left[..., :2], right[..., :2]), torch.maximum(left[..., 2:], right[..., 2:])], -1)
    hull = area(around).clamp_min(TINY)
    return common / union.clamp_min(TINY) - (hull - union) / hull
