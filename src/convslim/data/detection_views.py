"""How images of a detection set are shown to a network: whole for evaluation, in changing views for training."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from convslim.data.annotated import AnnotatedImage
from convslim.data.imagefolder import opened
from convslim.data.objects import Objects
from convslim.data.view import Matrix, letterbox, mirror, quadrilateral, shift, view_objects, warp
from convslim.errors import DataError

CROPPED = (0.5, 1.0)  # share of each side that a crop keeps


@dataclass(frozen=True)
class DetectionAugmentation:
    """What training does to images; every chance is a probability.

    Attributes:
        crop: Chance of a random part with 50 to 100 % of each side; objects less than a quarter inside are left out.
        perspective: Chance of a tilted view, whose corners move by up to `tilt` of the side.
        tilt: See there.
        flip: Chance of a mirror image.
        color: Largest relative change of brightness, contrast and saturation.
        mixup: Chance to blend with another image, ``m * a + (1 - m) * b`` with m from Beta(1.5, 1.5); the objects of
            both weigh m and 1 - m in the loss.

    References:
        H. Zhang et al., *mixup: Beyond Empirical Risk Minimization*, ICLR 2018; for detection Z. Zhang et al., *Bag of
        Freebies for Training Object Detection Neural Networks*, 2019, arXiv:1902.04103.
    """

    crop: float = 0.5
    perspective: float = 0.5
    tilt: float = 0.06
    flip: float = 0.5
    color: float = 0.3
    mixup: float = 0.3

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise DataError(f"augmentation: {name} is {value}; it must lie between 0 and 1.")


def load(image: AnnotatedImage) -> Image.Image:
    """The pixels of an image as RGB.

    Raises:
        DataError: The file cannot be decoded, or its size is not the annotation's; names it.
    """
    with opened(image.path) as file:
        pixels = file.convert("RGB")
    if pixels.size != image.size:
        raise DataError(
            f"{image.path} has {pixels.size[0]} x {pixels.size[1]} pixels, and its annotation says "
            f"{image.size[0]} x {image.size[1]}: the boxes would be wrong. Correct the annotation's <size>."
        )
    return pixels


def whole_view(image: AnnotatedImage, side: int) -> tuple[Tensor, Objects]:
    """The whole image in a square: uint8 (3, side, side), and all its objects, however small they are there."""
    view = letterbox(*image.size, side)
    return _tensor(warp(load(image), view, side)), view_objects(image.objects, view, side, 0.0, 0.0)


def training_view(
    image: AnnotatedImage,
    other: AnnotatedImage,
    side: int,
    augmentation: DetectionAugmentation,
    random: np.random.Generator,
) -> tuple[Tensor, Objects]:
    """A random view, perhaps blended with one of another image: uint8 (3, side, side) and the objects it shows."""
    pixels, objects = _one_view(image, side, augmentation, random)
    if random.random() < augmentation.mixup:
        share = float(random.beta(1.5, 1.5))
        more, others = _one_view(other, side, augmentation, random)
        pixels = (share * pixels.astype(np.float32) + (1 - share) * more).round().astype(np.uint8)
        objects = _together(objects, others, share)
    return _tensor(pixels), objects


def _one_view(
    image: AnnotatedImage, side: int, augmentation: DetectionAugmentation, random: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], Objects]:
    view = _view(image, side, augmentation, random)
    return warp(_colored(load(image), augmentation.color, random), view, side), view_objects(image.objects, view, side)


def _view(image: AnnotatedImage, side: int, augmentation: DetectionAugmentation, random: np.random.Generator) -> Matrix:
    width, height = image.size
    view = np.eye(3)
    if random.random() < augmentation.crop:
        kept = random.uniform(*CROPPED, 2)
        left, top = random.uniform(0, 1 - kept) * (width, height)
        view = shift(-left, -top) @ view
        width, height = kept * (width, height)
    view = letterbox(width, height, side) @ view
    if random.random() < augmentation.perspective:
        corners = np.array([(0, 0), (side, 0), (side, side), (0, side)], float)
        view = quadrilateral(corners, corners + random.uniform(-1, 1, (4, 2)) * augmentation.tilt * side) @ view
    return mirror(side) @ view if random.random() < augmentation.flip else view


def _colored(image: Image.Image, change: float, random: np.random.Generator) -> Image.Image:
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        factor = random.uniform(1 - change, 1 + change)
        image = enhance(image).enhance(factor) if change else image
    return image


def _together(objects: Objects, others: Objects, share: float) -> Objects:
    weighed = [replace(each, weights=each.weights * weight) for each, weight in ((objects, share), (others, 1 - share))]
    return Objects(*(torch.cat([getattr(each, name) for each in weighed]) for name in Objects.__dataclass_fields__))


def _tensor(pixels: npt.NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
