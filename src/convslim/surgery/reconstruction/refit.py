"""New weights of one layer by least squares."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convslim.surgery.reconstruction.moments import Moments
from convslim.surgery.reconstruction.pair import Pair, Seen
from convslim.surgery.reconstruction.rows import input_rows, num_positions, output_rows, sampled
from convslim.surgery.reconstruction.sites import Site, matrix_of, scale_behind, write_
from convslim.surgery.reconstruction.solve import STRENGTHS, Fit, fit

HELD_OUT = 5
"""Every fifth image is held out of a fit, for the choice of λ."""

_LEAST_SCALE = 1e-4


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a fit found, and what it saw: the rows held out, and all rows."""

    fit: Fit
    held: Moments
    rows: Moments


@dataclass(frozen=True, eq=False)
class Rows:
    """What is wanted of a layer at some positions of one batch.

    Attributes:
        shape: Of the layer's output.
        positions: Flat output positions by image, ``(N, P)``.
        held: Which rows are held out, ``(N * P,)``.
        outputs: Wanted outputs behind the layer's bias, ``(N * P, C_out)`` float64.
    """

    shape: torch.Size
    positions: Tensor
    held: Tensor
    outputs: Tensor


class Refit:
    """One layer of the smaller network, before which both networks stand.

    Attributes:
        site: The layer.
        scale: What the BatchNorms behind multiply each output with, ``(C_out,)``.
        importance: Its square, by conv group.
        num_images: How many are looked at.
    """

    def __init__(self, site: Site, tensors: Mapping[str, Tensor], pair: Pair, per_image: int) -> None:
        self.site = site
        self.scale = scale_behind(site, tensors)
        self._tensors, self._pair = tensors, pair
        self.num_images = sum(count for _, count in pair.spans)
        self._per_image = math.ceil(per_image * pair.num_images / self.num_images)  # fewer images, as many rows
        self._reach = self.scale.abs() > _LEAST_SCALE * self.scale.abs().max()
        self._mean = tensors[site.mean].clone() if site.mean else torch.zeros_like(self.scale)
        self.importance = self.scale.square().reshape(self._matrix().shape[0], -1)
        self._rows: list[Rows] = []
        self._strengths: Sequence[float] = STRENGTHS

    def run_(self) -> Fitted:
        """Fit the layer to what is wanted of it now, and write its new weights; λ is chosen the first time."""
        train, held = self.sums()
        shift = bool(self.site.mean or self.site.bias)
        found = fit(train, held, self._matrix(), self.importance, shift=shift, strengths=self._strengths)
        self._strengths = (found.strength,)
        write_(self._tensors[self.site.weight], found.matrix, self.site)
        constant = found.constant.reshape(-1)
        if self.site.mean:
            self._tensors[self.site.mean].sub_(constant)
        elif self.site.bias:
            self._tensors[self.site.bias].add_(constant)
        return Fitted(found, held, train + held)

    def sums(self) -> tuple[Moments, Moments]:
        """Rows to fit, and rows held out."""
        train, held = Moments.zeros(self._matrix()), Moments.zeros(self._matrix())
        for x, y, out in self._each():
            train.add_(x[:, ~out], y[:, ~out])
            held.add_(x[:, out], y[:, out])
        return train, held

    def errors(self) -> Tensor:
        """What is missing now in the rows to fit, in the unit behind the BatchNorms."""
        matrix, reach = self._matrix(), self.importance.sqrt()[:, None]
        missing = [((y - x @ matrix.to(x)) * reach)[:, ~out] for x, y, out in self._each()]
        return torch.cat(missing, 1)

    def _each(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Of every batch the rows ``(G, R, K)`` and ``(G, R, M)``, and which are held out."""
        self._rows = self._rows or [self._rows_of(seen) for seen in self._pair.at(self.site)]
        for features, rows in zip(self._pair.features(self.site), self._rows, strict=True):
            x = input_rows(features, self.site.kernel, rows.shape, rows.positions)
            y = rows.outputs - self._moved()
            if self.site.bias:
                y = y - self._tensors[self.site.bias].detach()
            yield x, y.reshape(len(y), self.site.kernel.groups, -1).transpose(0, 1), rows.held

    def wanted(self) -> list[Tensor]:
        """For every batch what the layer's operation should give, with its own bias."""
        dims = (-1, *(1,) * len(self.site.kernel.size))
        moved = self._moved().to(self._tensors[self.site.weight].dtype).reshape(dims)
        lags = (1 / self.scale).where(self._reach, 0.0).to(moved.dtype).reshape(dims)
        return [
            seen.target - moved + (0.0 if seen.lag is None else seen.lag.reshape(seen.target.shape) * lags)
            for seen in self._pair.at(self.site)
        ]

    def error(self, found: Fitted) -> float:
        """Squared error on the rows held out, in the unit behind the BatchNorms."""
        return float((found.fit.held_after * self.importance).sum())

    def _matrix(self) -> Tensor:
        return matrix_of(self._tensors[self.site.weight].detach(), self.site).double()

    def _moved(self) -> Tensor:
        """The constant that the running mean has taken up so far."""
        return self._mean - self._tensors[self.site.mean] if self.site.mean else torch.zeros_like(self.scale)

    def _rows_of(self, seen: Seen) -> Rows:
        """What is wanted at some positions of one batch."""
        kernel, images = self.site.kernel, seen.num_images
        positions = sampled(seen.first, images, num_positions(seen.target.shape, kernel, images), self._per_image)
        positions = positions.to(seen.target.device)
        y = output_rows(seen.target, kernel, positions).double()
        if seen.lag is not None:
            # an output that hardly reaches the sum cannot make up for it
            lag = output_rows(seen.lag.reshape(seen.target.shape), kernel, positions).double()
            y = y + torch.where(self._reach, lag / self.scale, 0.0)
        held = held_out(seen.first, images).to(positions.device)[:, None].expand_as(positions).reshape(-1)
        return Rows(seen.target.shape, positions, held, y)


def held_out(first: int, count: int) -> Tensor:
    """Which of the images ``first, first + 1, ...`` no fit sees before λ is chosen."""
    return torch.arange(first, first + count) % HELD_OUT == HELD_OUT - 1
