"""Between the maps of :class:`~convslim.models.yolov3_mobilenetv2.YOLOv3MobileNetV2` and boxes.

A cell at column x and row y of a map with stride s predicts, in each slot, distances from its center in units of s,
as logarithms: ``left = (x + 0.5 - exp(l)) * s``, ``right = (x + 0.5 + exp(r)) * s``, and so for top and bottom with y.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from convslim.errors import ModelError
from convslim.models.yolov3_mobilenetv2 import BOX_VALUES, SLOTS

LARGEST = 6.0  # exp(6) cells: larger than any image; keeps an untrained network finite
NEAREST = 1e-3  # cells: the smallest distance that can be encoded


@dataclass(frozen=True)
class Predictions:
    """What a detector says, all scales and slots in one row of n predictions per image.

    Attributes:
        boxes: (N, n, 4) in pixels.
        objectness: (N, n) logits.
        classes: (N, n, num_classes) logits.
    """

    boxes: Tensor
    objectness: Tensor
    classes: Tensor

    @property
    def scores(self) -> Tensor:
        """Probability of each class at each place, (N, n, num_classes)."""
        return self.classes.sigmoid() * self.objectness.sigmoid().unsqueeze(-1)


def centers(height: int, width: int, like: Tensor) -> Tensor:
    """Centers of the cells in units of a cell, row by row: (height * width, 2) of x and y."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2).to(like) + 0.5


def decode(maps: tuple[Tensor, ...], strides: tuple[int, ...]) -> Predictions:
    """Boxes, objectness and classes of every slot of every cell.

    Args:
        maps: Per scale (N, 3 * (5 + num_classes), h, w).
        strides: Pixels of a cell, per scale.

    Returns:
        Predictions, scale by scale, in each cell by cell, in each slot by slot.

    Raises:
        ModelError: If the channels of a map are no multiple of the slots.
    """
    parts = [_decode_one(map_, stride) for map_, stride in zip(maps, strides, strict=True)]
    return Predictions(
        torch.cat([part.boxes for part in parts], 1),
        torch.cat([part.objectness for part in parts], 1),
        torch.cat([part.classes for part in parts], 1),
    )


def _decode_one(map_: Tensor, stride: int) -> Predictions:
    batch, channels, height, width = map_.shape
    if channels % SLOTS or channels // SLOTS <= BOX_VALUES:
        raise ModelError(
            f"A detector's map has {channels} channels; {SLOTS} * ({BOX_VALUES} + number of classes) are expected."
        )
    values = map_.permute(0, 2, 3, 1).reshape(batch, height * width, SLOTS, -1)
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    middle = centers(height, width, values)[:, None]
    reach = values[..., :4].clamp_max(LARGEST).exp()
    boxes = torch.cat([middle - reach[..., :2], middle + reach[..., 2:]], -1) * stride
    return Predictions(boxes.flatten(1, 2), values[..., 4].flatten(1, 2), values[..., BOX_VALUES:].flatten(1, 2))


def encode(boxes: Tensor, cells: Tensor, stride: int) -> Tensor:
    """The four values that decode to these boxes, the inverse of :func:`decode` for boxes around the cell's center.

    Args:
        boxes: (n, 4) in pixels.
        cells: (n, 2), column and row of the cell that predicts each.
        stride: Pixels of a cell.
    """
    middle = cells.to(boxes) + 0.5
    reach = torch.cat([middle - boxes[:, :2] / stride, boxes[:, 2:] / stride - middle], 1)
    return reach.clamp_min(NEAREST).log()
