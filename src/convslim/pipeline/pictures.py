"""Test images with the boxes that the network found before the first cut, and those that it finds now, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from convslim.data.detection import DetectionSplit
from convslim.data.detection_views import load
from convslim.detection.picture import beside, drawn, find
from convslim.errors import RecipeError
from convslim.pipeline.state import Context, State
from convslim.train.evaluate import evaluating

FOLDER = "pictures"


def draw_pictures(number: int, state: State, context: Context) -> list[str]:
    """Write so many pictures into the run's folder; their names there.

    On the left is what the network of before the first cut finds, on the right what the present one does; the present
    one stands alone where nothing was cut.

    Raises:
        RecipeError: The images have labels, not boxes.
    """
    split = context.source.test
    if not isinstance(split, DetectionSplit):
        raise RecipeError("pictures show boxes, and the images of this data have labels. Leave pictures out.")
    networks = [state.uncut, state.model] if state.uncut is not None else [state.model]
    folder = context.out / FOLDER / context.work.name.removeprefix(".")
    if context.primary:
        folder.mkdir(parents=True, exist_ok=True)
    names = []
    for image in split.annotated.images[:number]:
        pictures = [_picture(network, load(image), split) for network in networks]
        names.append(str(Path(FOLDER, folder.name, f"{image.path.stem}.png")))
        if context.primary:
            (pictures[0] if len(pictures) == 1 else beside(*pictures)).save(context.out / names[-1])
    return names


def _picture(network: nn.Module, image: Image.Image, split: DetectionSplit) -> Image.Image:
    def outputs(images: Tensor) -> Any:
        with torch.inference_mode():
            return network(images)

    with evaluating(network):
        found = find(outputs, image, split.side, split.mean, split.std, heads=split.heads)
    return drawn(image, found, split.annotated.classes)
