"""How pictures become what a network takes: from the command line, from the network, or the usual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import typer
from torch import nn

from convslim import models
from convslim.data import cifar10, digits
from convslim.data.imagefolder import IMAGENET_MEAN, IMAGENET_STD
from convslim.data.unlabeled import Preprocessing
from convslim.errors import DataError
from convslim.models.pictures import picture_config, scaled_side

Floats = tuple[float, ...]


@dataclass(frozen=True)
class Wishes:
    """What the command line says on preprocessing; None where it says nothing.

    Attributes:
        shape: (C, H, W) of the network's input.
        resize: Side to which the middle square of a picture is scaled.
        crop: Share of that side that is cut out, instead of `resize`.
        mean, std: Per channel, of pixels in 0…1.
    """

    shape: tuple[int, int, int] | None = None
    resize: int | None = None
    crop: float | None = None
    mean: Floats | None = None
    std: Floats | None = None


def parse_wishes(size: str | None, resize: int | None, crop: float | None, mean: str | None, std: str | None) -> Wishes:
    """The options `--size`, `--resize`, `--crop`, `--mean` and `--std`.

    >>> parse_wishes("32", None, None, "0.5,0.5,0.5", None)
    Wishes(shape=(3, 32, 32), resize=None, crop=None, mean=(0.5, 0.5, 0.5), std=None)
    """
    if resize is not None and crop is not None:
        raise typer.BadParameter("--resize and --crop say the same in two ways: give one of them.")
    if crop is not None and not 0 < crop <= 1:
        raise typer.BadParameter(
            f"--crop {crop}: the share of the scaled picture that is cut out, above 0 and up to 1."
        )
    return Wishes(_shape(size), resize, crop, _numbers("--mean", mean), _numbers("--std", std))


def _shape(size: str | None) -> tuple[int, int, int] | None:
    if size is None:
        return None
    try:
        numbers = [int(number) for number in size.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3) or min(numbers) < 1:
        raise typer.BadParameter(f"--size {size}: write pixels, for example 224, or C,H,W, for example 1,28,28.")
    return (3, numbers[0], numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1], numbers[2])


def _numbers(option: str, text: str | None) -> Floats | None:
    try:
        return None if text is None else tuple(float(number) for number in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"{option} {text}: write one number per channel, for example 0.5,0.5,0.5.") from error


def preprocessing(spec: str, network: nn.Module, wishes: Wishes) -> tuple[Preprocessing, list[str]]:
    """What the network takes, as far as it is known, and notes on what was only assumed.

    Networks of timm carry their own configuration; those that convslim brings along have a usual one. A mean and
    standard deviation that nobody named are ImageNet's for colors, and asked for otherwise.

    Raises:
        DataError: the input size, or the normalization of a gray network, is not known; or the numbers do not fit.
    """
    config = picture_config(network)
    shape = wishes.shape or _known_shape(spec, config)
    if shape is None:
        raise DataError(
            f"The image size of '{spec}' is not known; give it, for example --size 224, or --size 1,28,28 for a gray "
            "network."
        )
    mean, std, notes = _normalization(spec, shape[0], wishes, config)
    bicubic = config.get("interpolation") == "bicubic"
    interpolation: Literal["bilinear", "bicubic"] = "bicubic" if bicubic else "bilinear"
    return Preprocessing(shape, _side(spec, max(shape[1:]), wishes, config), interpolation, mean, std), notes


def _known_shape(spec: str, config: Mapping[str, Any]) -> tuple[int, int, int] | None:
    if config:
        channels, height, width = config["input_size"]
        return int(channels), int(height), int(width)
    if spec in models.SHAPES:
        return models.SHAPES[spec]
    return (3, 224, 224) if spec.startswith("torchvision:") else None


def _side(spec: str, size: int, wishes: Wishes, config: Mapping[str, Any]) -> int:
    """To how many pixels a picture is scaled before `size` pixels are cut out."""
    if wishes.resize is not None:
        return wishes.resize
    if wishes.crop is not None:
        return round(size / wishes.crop)
    known = scaled_side(config, size)
    if known is not None:
        return known
    return size if spec in models.NETWORKS else round(size * 256 / 224)


def _normalization(
    spec: str, channels: int, wishes: Wishes, config: Mapping[str, Any]
) -> tuple[Floats, Floats, list[str]]:
    known: tuple[Floats, Floats] | None = None
    note = ""
    if config and len(config["mean"]) == channels:
        known = tuple(config["mean"]), tuple(config["std"])
    elif models.SHAPES.get(spec) in ((channels, 8, 8), (channels, 32, 32)):
        data, name = (digits, "the digits") if spec.startswith("digits") else (cifar10, "CIFAR-10")
        known, note = (data.MEAN, data.STD), f"those of {name}"
    elif channels == 3:
        known, note = (IMAGENET_MEAN, IMAGENET_STD), "ImageNet's"
    if wishes.mean is not None and wishes.std is not None:
        return wishes.mean, wishes.std, []
    if known is None:
        raise DataError(
            f"The normalization of '{spec}' with {channels} channels is not known; give --mean and --std of pixels in "
            "0…1, as for its training."
        )
    assumed = " and ".join(name for name, given in (("mean", wishes.mean), ("std", wishes.std)) if given is None)
    notes = (
        [f"'{spec}' does not say its {assumed}: {note} are used. If that is wrong, give --mean and --std."]
        if note
        else []
    )
    return wishes.mean or known[0], wishes.std or known[1], notes
