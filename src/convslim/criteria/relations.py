"""How active each channel's maps are, and how far apart those of every two channels, over images that stream by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

CHUNK = 2**18  # numbers in one matrix product: small enough for a cache, large enough to hide the calls

Activity = Callable[[Tensor, Tensor], Tensor]
Distance = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True, eq=False)
class Relations:
    """Sums over images of activeness and difference.

    Attributes:
        images: How many.
        activeness: ``Σ_n a(f_n,c)``, ``(C,)`` float64.
        difference: ``Σ_n d(f_n,i, f_n,j)``, ``(C, C)`` float64.
    """

    images: int
    activeness: Tensor
    difference: Tensor

    @classmethod
    def of(cls, maps: Tensor, activity: str, distance: str) -> Relations:
        """Of the maps ``(N, C, *positions)`` of one batch.

        All differences of an image come from its Gram matrix, ``‖a‖² + ‖b‖² − 2ab``: O(C²·HW) operations in matrix
        products. Norm and product of similar maps cancel, so products are taken in float64: what is left of the
        distance of equal maps is below ``√(4·HW·2⁻⁵³)`` of their norm (measured, 1e-8), where float32 would leave
        1e-3. Maps of a float32 network are themselves rounded to 6e-8.
        """
        flat = maps.flatten(2) if maps.ndim > 2 else maps[..., None]
        images, channels, positions = flat.shape
        size = max(CHUNK // max(channels * positions, channels**2), 1)
        activeness = flat.new_zeros(channels, dtype=torch.float64)
        difference = flat.new_zeros(channels, channels, dtype=torch.float64)
        for part in flat.split(size):
            values = part.double()
            gram = values @ values.mT
            activeness += ACTIVENESS[activity](values, gram.diagonal(dim1=1, dim2=2)).sum(0)
            difference += DIFFERENCE[distance](gram, positions).sum(0)
        return cls(images, activeness, difference.fill_diagonal_(0))

    def merge(self, other: Relations) -> Relations:
        """Of the images of both."""
        return Relations(
            self.images + other.images, self.activeness + other.activeness, self.difference + other.difference
        )

    def finish(self) -> tuple[Tensor, Tensor]:
        """Mean activeness A, ``(C,)``, and mean difference D, ``(C, C)``."""
        return self.activeness / self.images, self.difference / self.images


def _spread(values: Tensor, squares: Tensor) -> Tensor:
    positions = values.shape[-1]
    if positions == 1:
        return values[..., 0].abs()
    return (squares / positions - values.mean(-1).square()).clamp_min(0).sqrt()


def _mean_abs(values: Tensor, squares: Tensor) -> Tensor:
    return values.abs().mean(-1)


def _norm(values: Tensor, squares: Tensor) -> Tensor:
    return (squares / values.shape[-1]).sqrt()


def _live(values: Tensor, squares: Tensor) -> Tensor:
    return (values != 0).double().mean(-1)


def _euclidean(gram: Tensor, positions: int) -> Tensor:
    squares = gram.diagonal(dim1=1, dim2=2)
    return (squares[:, :, None] + squares[:, None, :] - 2 * gram).clamp_min_(0).sqrt_() / positions**0.5


def _cosine(gram: Tensor, positions: int) -> Tensor:
    norms = gram.diagonal(dim1=1, dim2=2).sqrt()
    zero = norms == 0
    cosine = gram.abs() / (norms[:, :, None] * norms[:, None, :]).masked_fill(zero[:, :, None] | zero[:, None, :], 1)
    # two maps of zeros are the same map
    return (1 - cosine).clamp_min(0).masked_fill(zero[:, :, None] & zero[:, None, :], 0)


ACTIVENESS: Final[Mapping[str, Activity]] = {"std": _spread, "mean_abs": _mean_abs, "l2": _norm, "apoz": _live}
"""Activeness ``(N, C)`` from maps ``(N, C, HW)`` and their squared norms ``(N, C)``."""

DIFFERENCE: Final[Mapping[str, Distance]] = {"euclidean": _euclidean, "cosine": _cosine}
"""Differences ``(N, C, C)`` from Gram matrices ``(N, C, C)`` and the number of positions."""
