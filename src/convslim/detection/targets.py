"""Which cell and slot has to predict which object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convslim.data.objects import Objects
from convslim.models.yolov3_mobilenetv2 import SLOTS

LIMITS = (30.0, 90.0)  # pixels: objects up to these sizes belong to the first and second scale


@dataclass(frozen=True)
class Assignment:
    """For every object that found a place, its image, its number there, and its place among the predictions.

    Attributes:
        image, number, place: (m,) int64.
        num_crowded_out: Objects without a place, because more than three of a scale fall into one cell.
    """

    image: Tensor
    number: Tensor
    place: Tensor
    num_crowded_out: int


def assign(objects: Sequence[Objects], sizes: Sequence[tuple[int, int]], strides: Sequence[int]) -> Assignment:
    """Give every object the cell at its center, on the scale of its size ``sqrt(w * h)``.

    Up to 30 pixels the first scale, up to 90 the second, the third above. Several objects of one cell take its slots
    in the order of their areas, the largest first.

    Args:
        objects: Per image.
        sizes: Height and width of the map of every scale.
        strides: Pixels of a cell, per scale.
    """
    starts = [0]
    for height, width in sizes:
        starts.append(starts[-1] + height * width * SLOTS)
    images, numbers, places = [], [], []
    crowded_out = 0
    for image, found in enumerate(objects):
        cells = _cells(found.boxes, sizes, strides, starts)
        slots = _slots(cells, found.boxes)
        fits = slots < SLOTS
        crowded_out += int((~fits).sum())
        numbers.append(torch.nonzero(fits)[:, 0])
        places.append((cells + slots)[fits])
        images.append(torch.full_like(numbers[-1], image))
    return Assignment(torch.cat(images), torch.cat(numbers), torch.cat(places), crowded_out)


def _cells(boxes: Tensor, sizes: Sequence[tuple[int, int]], strides: Sequence[int], starts: Sequence[int]) -> Tensor:
    """First prediction of the cell that an object belongs to."""
    extent = (boxes[:, 2:] - boxes[:, :2]).clamp_min(0)
    scale = torch.bucketize(extent.prod(1).sqrt(), torch.tensor(LIMITS, device=boxes.device))
    stride = torch.tensor(strides, device=boxes.device)[scale]
    height, width = torch.tensor(sizes, device=boxes.device)[scale].T
    column, row = ((boxes[:, :2] + boxes[:, 2:]) / 2 / stride[:, None]).long().T
    column, row = column.clamp_min(0).minimum(width - 1), row.clamp_min(0).minimum(height - 1)
    return torch.tensor(starts, device=boxes.device)[scale] + (row * width + column) * SLOTS


def _slots(cells: Tensor, boxes: Tensor) -> Tensor:
    """Rank of every object among those of its cell, by area."""
    same = cells[:, None] == cells[None]
    areas = (boxes[:, 2:] - boxes[:, :2]).clamp_min(0).prod(1)
    order = torch.arange(len(boxes), device=boxes.device)
    before = (areas[None] > areas[:, None]) | ((areas[None] == areas[:, None]) & (order[None] < order[:, None]))
    return (same & before).sum(1)
