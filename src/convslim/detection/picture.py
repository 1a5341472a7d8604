"""Pictures: what a detector found in an image, in the image's own pixels, drawn into it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from convslim.data.heads import Detections, Heads
from convslim.data.view import letterbox, view_boxes, warp
from convslim.detection.yolo_heads import YoloHeads

Network = Callable[[Tensor], Any]
COLORS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000", "#000075", "#f032e6")
GAP = 8  # pixels between two pictures


def find(
    network: Network,
    image: Image.Image,
    side: int,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    heads: Heads | None = None,
    threshold: float = 0.3,
    overlap: float = 0.45,
) -> Detections:
    """What a detector sees in an image.

    Args:
        network: Takes (1, 3, side, side), normalized, and gives the outputs of a network or of a file.
        image: RGB, of any size; the whole of it is shown to the network.
        side: Height and width of the network's input.
        mean, std: Per channel, for images in [0, 1].
        heads: What the outputs mean; None for the maps of the detector that comes with convslim.
        threshold, overlap: As for :func:`~convslim.detection.suppress.detect`.

    Returns:
        Boxes in the image's pixels, cut at its border.
    """
    view = letterbox(*image.size, side)
    pixels = torch.from_numpy(warp(image, view, side).transpose(2, 0, 1).astype(np.float32) / 255)
    normalized = (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    heads = heads or YoloHeads()
    outputs = heads.checked(network(normalized[None]), normalized[None], [], "The detector")
    (found,) = heads.detect(outputs, threshold=threshold, overlap=overlap)
    boxes = view_boxes(found.boxes.cpu(), np.linalg.inv(view).astype(np.float64))
    border = torch.tensor([*image.size, *image.size])
    return Detections(boxes.clamp_min(0).minimum(border), found.scores.cpu(), found.labels.cpu())


def drawn(image: Image.Image, found: Detections, classes: Sequence[str]) -> Image.Image:
    """A copy of an image with boxes, names and scores, the surest on top."""
    picture = image.convert("RGB")
    drawing = ImageDraw.Draw(picture)
    width = max(1, round(max(image.size) / 320))
    for box, score, label in reversed(list(zip(found.boxes.tolist(), found.scores, found.labels, strict=True))):
        color = COLORS[int(label) % len(COLORS)]
        drawing.rectangle((*box[:2], max(box[2], box[0]), max(box[3], box[1])), outline=color, width=width)
        text = f"{name_of(int(label), classes)} {float(score):.2f}"
        place = drawing.textbbox((box[0], max(box[1] - 11, 0)), text)
        drawing.rectangle(place, fill=color)
        drawing.text(place[:2], text, fill="white", anchor=None)
    return picture


def name_of(label: int, classes: Sequence[str]) -> str:
    """A class in words."""
    return classes[label] if label < len(classes) else f"class {label}"


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two pictures of one height in one."""
    both = Image.new("RGB", (left.width + GAP + right.width, max(left.height, right.height)), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + GAP, 0))
    return both
