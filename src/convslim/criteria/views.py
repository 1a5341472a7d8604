"""Layers as readers of channels, seen on all images in one pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from convslim.channels.tape import ExampleInput
from convslim.errors import ModelError
from convslim.measure.watch import Watch, watched
from convslim.surgery.reconstruction.moments import Moments
from convslim.surgery.reconstruction.pair import num_images
from convslim.surgery.reconstruction.replay import Replay
from convslim.surgery.reconstruction.rows import input_rows, num_positions, output_rows, sampled
from convslim.surgery.reconstruction.sites import Site, matrix_of, scale_behind

STRENGTH = 1e-3
"""λ of the refits, as a fraction of the mean variance of the inputs."""


class View:
    """What a layer reads and gives, summed over images, and the variance of the sum that its outputs arrive in.

    Args:
        site: The layer.
        tensors: Of the model.
        per_image: Output positions taken of every image.
    """

    def __init__(self, site: Site, tensors: Mapping[str, Tensor], per_image: int) -> None:
        self.site = site
        self._matrix = matrix_of(tensors[site.weight], site).double()
        self._scale = scale_behind(site, tensors)
        self._per_image = per_image
        self._moments = Moments.zeros(self._matrix)
        # by channel: how many values, their sum, the sum of their squares
        self._arrived = torch.zeros(3, 1, dtype=torch.float64, device=self._matrix.device)

    def look_(self, passing: Replay, first: int, count: int) -> None:
        """See a batch of ``count`` images, of which the first has the number ``first``; it goes past the layer."""
        site = self.site
        passing.advance(site.index)
        features = passing.value(site.features)
        passing.advance(site.index + 1)
        outputs = passing.value(site.output)
        positions = sampled(first, count, num_positions(outputs.shape, site.kernel, count), self._per_image)
        positions = positions.to(outputs.device)
        x = input_rows(features, site.kernel, outputs.shape, positions)
        y = output_rows(outputs, site.kernel, positions)
        self._moments.add_(x, y.reshape(len(y), len(self._matrix), -1).transpose(0, 1))

    def arrive_(self, values: Tensor) -> None:
        """See the same batch where the outputs arrive."""
        channel = 1 if self.site.kernel.size else values.dim() - 1
        others = [dim for dim in range(values.dim()) if dim != channel]
        total, squares = (each.sum(others, dtype=torch.float64) for each in (values, values.square()))
        number = torch.full_like(total, values.numel() / len(total))
        self._arrived = self._arrived + torch.stack([number, total, squares])

    def problem(self) -> tuple[Tensor, Tensor]:
        """Regularized Gram matrices ``(G, K, K)`` and weights ``(G, K, M)``, in the unit of the error.

        Raises:
            ModelError: If a number is not finite.
        """
        site, matrix = self.site, self._matrix
        about = self._moments.centered() if site.mean or site.bias else self._moments.raw()
        if not torch.isfinite(about.xx).all() or not torch.isfinite(about.yy).all():
            raise ModelError(f"What {site.module} reads or gives is not finite on the calibration images.")
        number, total, squares = self._arrived
        spread = float((squares / number - (total / number).square()).sum())
        level = about.xx.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-30)
        about.xx.diagonal(dim1=-2, dim2=-1).add_(STRENGTH * level[:, None])
        scale = self._scale.reshape(len(matrix), 1, -1)
        return about.xx, matrix * scale / math.sqrt(max(spread, 1e-30))


def look_(
    views: Iterable[View], running: Sequence[Replay], batches: Sequence[ExampleInput], watch: Watch | None = None
) -> None:
    """Show all batches to all views, one batch after the other."""
    views, first = list(views), 0
    for replay, batch in watched(list(zip(running, batches, strict=True)), "look at images", watch):
        made = {out.id: call.index for call in replay.calls for out in call.outs}
        events = [(view.site.index, 0, view) for view in views]
        events += [(made[view.site.arrival.id], 1, view) for view in views]
        passing = replay.fork(replay.tensors)
        count = num_images(batch)
        for place, arrives, view in sorted(events, key=lambda event: event[:2]):
            if arrives:
                passing.advance(place + 1)
                view.arrive_(passing.value(view.site.arrival))
            else:
                view.look_(passing, first, count)
        first += count
