"""New weights for the layers of a candidate that read removed channels, from sums that are made once.

A layer computes x W of its inputs x. With the covariance C of the inputs in the uncut network, summed once, and S the
inputs that stay, the weights that follow the uncut layer best are

    W'_S = argmin E |x_S W' - x W|² + λ |W' - W_S|²        ⟹        W'_S = W_S + (C_SS + λ m I)⁻¹ (C_S: W - C_SS W_S)

with m the mean of the diagonal of C_SS. No network runs for it, and it depends on the channels that one layer reads, so
candidates share most of it. `convslim.reconstruct_` does more: it takes the smaller network's own inputs, after all
layers before were refitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from convslim.surgery.plan import PruningPlan
from convslim.surgery.reconstruction.moments import Moments
from convslim.surgery.reconstruction.replay import Replay, replays
from convslim.surgery.reconstruction.rows import input_rows, num_positions, sampled
from convslim.surgery.reconstruction.sites import Layers, Site, matrix_of, write_
from convslim.surgery.reconstruction.solve import solve_ridge

STRENGTH: Final = 1e-3
"""λ, as a fraction of the mean variance of the inputs."""

MOST_INPUTS: Final = 2304
"""Layers with more inputs (channels times kernel positions) keep their weights: the solution would take seconds."""

PER_IMAGE: Final = 16
"""Output positions taken of every image."""


@dataclass(frozen=True, eq=False)
class _Reader:
    """A layer whose weights can follow.

    Attributes:
        site: Which one.
        about: Moments of its inputs, about their means where a constant can be taken up behind it.
        matrix: W, (1, K, M), float64.
        weight: The tensor that W was made of.
        solved: W' for all outputs, and what they are shifted by, by the channels that are read.
    """

    site: Site
    about: Moments
    matrix: Tensor
    weight: Tensor
    solved: dict[tuple[int, ...], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def fitted(self, kept: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """W', (1, K', M), and the shift, (1, M), where these channels are read."""
        if kept not in self.solved:
            taps = self.matrix.shape[1] // self.weight.shape[self.site.in_dim]
            rows = torch.from_numpy((np.array(kept)[:, None] * taps + np.arange(taps)).ravel()).to(self.matrix.device)
            read, start = self.about.xx[:, rows], self.matrix[:, rows]
            among = read[:, :, rows]
            found = start + solve_ridge(among, read @ self.matrix - among @ start, STRENGTH)
            shift = (self.about.x[:, None] @ self.matrix - self.about.x[:, None, rows] @ found)[:, 0]
            self.solved[kept] = (found, shift)
        return self.solved[kept]


class Readers:
    """The layers of a network that can be given new weights.

    Layers with conv groups, layers that are used more than once, and those of more than :data:`MOST_INPUTS` inputs
    keep theirs.

    Args:
        model: The uncut network, left as it is.
        batches: Images for the sums; 16 positions of each are taken.

    Raises:
        ModelError: If the network cannot be run layer by layer.
    """

    @torch.no_grad()
    def __init__(self, model: nn.Module, batches: Sequence[Tensor]) -> None:
        runs = replays(model, batches)
        layers, self._tensors = Layers(runs[0].tape), runs[0].tensors
        sites = [site for site in layers.sites if site.weight not in layers.shared and self._small(site)]
        sums = {site.weight: Moments.zeros(self._matrix(site)[:, :, :0]) for site in sites}
        first = 0
        for run, batch in zip(runs, batches, strict=True):
            _add_(sums, run, first, len(batch))
            first += len(batch)
        self._readers = {
            site.weight: _Reader(
                site,
                sums[site.weight].centered() if site.mean or site.bias else sums[site.weight].raw(),
                self._matrix(site),
                self._tensors[site.weight],
            )
            for site in sites
        }

    def _small(self, site: Site) -> bool:
        return site.kernel.groups == 1 and self._matrix(site).shape[1] <= MOST_INPUTS

    def _matrix(self, site: Site) -> Tensor:
        return matrix_of(self._tensors[site.weight], site).double()

    @torch.no_grad()
    def weights(self, plan: PruningPlan) -> dict[str, Tensor]:
        """New tensors of a candidate, by name: weights of the layers that read removed channels, and their biases."""
        found: dict[str, Tensor] = {}
        for name, reader in self._readers.items():
            site, slices = reader.site, plan.slices.get(name, {})
            if site.in_dim not in slices:
                continue
            matrix, shift = reader.fitted(slices[site.in_dim])
            if site.out_dim in slices:
                left = torch.tensor(slices[site.out_dim], device=matrix.device)
                matrix, shift = matrix[:, :, left], shift[:, left]
            shape = list(reader.weight.shape)
            for dim, kept in slices.items():
                shape[dim] = len(kept)
            found[name] = reader.weight.new_empty(shape)
            write_(found[name], matrix, site)
            if site.bias:
                found[site.bias] = (self._bias(site, slices) + shift[0]).to(reader.weight.dtype)
        return found

    def _bias(self, site: Site, slices: Mapping[int, Sequence[int]]) -> Tensor:
        bias = self._tensors[site.bias]
        return bias[torch.tensor(slices[site.out_dim], device=bias.device)] if site.out_dim in slices else bias


def _add_(sums: Mapping[str, Moments], run: Replay, first: int, count: int) -> None:
    """Run one batch through the network, and add what its layers read."""
    for site in Layers(run.tape).sites:  # batches of another size have a tape of their own
        if site.weight not in sums:
            continue
        run.advance(site.index)
        shape = torch.Size(site.output.shape)
        positions = sampled(first, count, num_positions(shape, site.kernel, count), PER_IMAGE)
        features = run.value(site.features)
        x = input_rows(features, site.kernel, shape, positions.to(features.device))
        sums[site.weight].add_(x, x[:, :, :0])
