"""Images with boxes, whatever file they were described in, and the repair of odd boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from convslim.data.objects import Objects

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class AnnotatedImage:
    """An image file and what is in it; `size` is (width, height)."""

    path: Path
    size: tuple[int, int]
    objects: Objects


@dataclass(frozen=True)
class Repairs:
    """What was odd in annotations, counted.

    Attributes:
        empty: Boxes without area, left out.
        outside: Boxes wholly outside their image, left out.
        clipped: Boxes that reached over the border and were cut at it.
        without_objects: Images in which nothing is left.
    """

    empty: int = 0
    outside: int = 0
    clipped: int = 0
    without_objects: int = 0

    def __str__(self) -> str:
        parts = [
            (self.empty, "boxes without area left out"),
            (self.outside, "boxes outside their image left out"),
            (self.clipped, "boxes cut at the border"),
            (self.without_objects, "images without objects"),
        ]
        return ", ".join(f"{number} {text}" for number, text in parts if number) or "nothing odd"


@dataclass(frozen=True)
class AnnotatedImages:
    """One split: images, the names of the classes, and what was repaired."""

    images: tuple[AnnotatedImage, ...]
    classes: tuple[str, ...]
    repairs: Repairs

    def __len__(self) -> int:
        return len(self.images)


def repaired(
    boxes: Sequence[Box], labels: Sequence[int], difficult: Sequence[bool], size: tuple[int, int]
) -> tuple[Objects, Repairs]:
    """The objects of an image without odd boxes: those without area or outside are left out, others cut at the border.

    Args:
        boxes: Left, top, right, bottom in pixels from 0, 0.
        size: (width, height) of the image.
    """
    stays: list[tuple[Box, int, bool]] = []
    empty = outside = clipped = 0
    for whole, label, hard in zip(boxes, labels, difficult, strict=True):
        box = _clip(whole, size)
        if whole[2] - whole[0] <= 1 and whole[3] - whole[1] <= 1:
            empty += 1  # one pixel: both corners are the same point
        elif whole[2] <= whole[0] or whole[3] <= whole[1]:
            empty += 1
        elif box[2] <= box[0] or box[3] <= box[1]:
            outside += 1
        else:
            clipped += box != whole
            stays.append((box, label, hard))
    objects = Objects.of(
        torch.tensor([box for box, _, _ in stays]).reshape(-1, 4),
        torch.tensor([label for _, label, _ in stays]),
        torch.tensor([hard for _, _, hard in stays]),
    )
    return objects, Repairs(empty, outside, clipped, int(not stays))


def _clip(box: Box, size: tuple[int, int]) -> Box:
    width, height = size
    left, top, right, bottom = box
    return max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))


def summed(left: Repairs, right: Repairs) -> Repairs:
    """Both counted together."""
    return Repairs(
        left.empty + right.empty,
        left.outside + right.outside,
        left.clipped + right.clipped,
        left.without_objects + right.without_objects,
    )
