"""Test images whose answer changed, as small pictures for people."""

from __future__ import annotations

import base64
import io
from typing import Final

import torch
from PIL import Image
from torch import Tensor

from convslim.data import ImageSplit
from convslim.pipeline.predictions import Predictions
from convslim.report.class_record import SampleRecord

SIDE: Final = 64
"""Pixels of a picture's longer side at most."""
ROUNDING: Final = 0.01
"""How far a denormalized value may lie outside 0…1."""


def samples(now: Predictions, before: Predictions, split: ImageSplit, number: int) -> tuple[SampleRecord, ...]:
    """Up to `number` images, half of them right before and wrong now, half the other way round.

    They are taken at equal distances, so that test images in the order of their classes give some of each. Images of
    other than 1 or 3 channels, or that are no pictures when their normalization is undone, give none.
    """
    if not number or split.input_shape[0] not in (1, 3) or not torch.equal(now.labels, before.labels):
        return ()
    was, right = before.labels == before.answers, now.labels == now.answers
    lost, won = (torch.nonzero(which).flatten() for which in (was & ~right, ~was & right))
    first = _spread(lost, max(number - number // 2, number - len(won)))
    rows = torch.cat([first, _spread(won, number - len(first))])
    if not len(rows):
        return ()
    images = torch.cat([batch for batch, _ in split.subset(rows).batches(number)])
    mean, std = (torch.tensor(each)[:, None, None] for each in (split.mean, split.std))
    shown = images.float() * std + mean
    if float(shown.min()) < -ROUNDING or float(shown.max()) > 1 + ROUNDING:
        return ()
    pixels = (shown.clamp(0, 1) * 255).round().to(torch.uint8)
    return tuple(
        SampleRecord(
            index=row,
            label=int(now.labels[row]),
            before=int(before.answers[row]),
            after=int(now.answers[row]),
            picture=_address(image),
        )
        for row, image in zip(rows.tolist(), pixels, strict=True)
    )


def _spread(rows: Tensor, number: int) -> Tensor:
    """Up to `number` of the rows, at equal distances."""
    if len(rows) <= number:
        return rows
    return rows[torch.arange(number) * len(rows) // max(number, 1)]


def _address(image: Tensor) -> str:
    """One picture, (C, H, W), no larger than it is and than `SIDE`."""
    pixels = image.permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    picture.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
