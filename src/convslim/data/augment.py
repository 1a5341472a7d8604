"""Augmentation of whole batches: random crop with padding, horizontal flip, cutout.

Random numbers are drawn apart from their use, for the batch of all processes together; each process then
takes its rows. So two processes see exactly the images that one would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from convslim.errors import DataError


@dataclass(frozen=True)
class Augmentation:
    """What `batches(augment=True)` does to the images of a split.

    Args:
        padding: zero pixels put around the image before a random crop back to its size.
        flip: mirrors half of the images left to right.
        cutout: side of one square of zeros (after normalization) per image, in pixels; 0 is off. It may hang
            over the border. Reference: DeVries and Taylor, *Improved Regularization of Convolutional Neural
            Networks with Cutout*, 2017, arXiv:1708.04552.

    Raises:
        DataError: `padding` or `cutout` is negative.
    """

    padding: int = 0
    flip: bool = False
    cutout: int = 0

    def __post_init__(self) -> None:
        for name in ("padding", "cutout"):
            if getattr(self, name) < 0:
                raise DataError(f"augmentation: {name} is {getattr(self, name)}; pixels are counted from 0 up.")


@dataclass(frozen=True, eq=False)
class Draws:
    """Random numbers in [0, 1) that decide the augmentation of N images, each of shape (N,)."""

    top: Tensor
    left: Tensor
    flip: Tensor
    cut_y: Tensor
    cut_x: Tensor

    def rows(self, which: slice) -> Draws:
        """The draws of some of the images."""
        return Draws(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


def draw(num_images: int, generator: torch.Generator) -> Draws:
    """Draw the random numbers of a batch."""
    return Draws(*torch.rand(len(Draws.__dataclass_fields__), num_images, generator=generator).unbind())


def random_crop(images: Tensor, size: tuple[int, int], padding: int, draws: Draws) -> Tensor:
    """Crop every image (N, C, H, W), zero-padded by `padding`, to (N, C, *size) at its own random place."""
    padded = F.pad(images, (padding,) * 4) if padding else images
    windows = padded.unfold(2, size[0], 1).unfold(3, size[1], 1)
    top = (draws.top * windows.shape[2]).long()
    left = (draws.left * windows.shape[3]).long()
    return windows[torch.arange(len(images)), :, top, left]


def center_crop(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Crop the middle of (N, C, H, W) to (N, C, *size)."""
    top = (images.shape[2] - size[0]) // 2
    left = (images.shape[3] - size[1]) // 2
    return images[:, :, top : top + size[0], left : left + size[1]]


def random_flip(images: Tensor, draws: Draws) -> Tensor:
    """Mirror the images whose draw is below one half."""
    return torch.where((draws.flip < 0.5)[:, None, None, None], images.flip(-1), images)


def cutout(images: Tensor, side: int, draws: Draws) -> Tensor:
    """Zero one square of `side` pixels in every image, its center anywhere in the image."""
    inside = []
    for length, place in ((images.shape[2], draws.cut_y), (images.shape[3], draws.cut_x)):
        start = (place * length).long() - side // 2
        position = torch.arange(length)
        inside.append((position >= start[:, None]) & (position < start[:, None] + side))
    square = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return images.masked_fill(square, 0.0)
