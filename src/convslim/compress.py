"""A smaller network from a trained one and some images: no labels, no training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from convslim.allocate import Allocation, Timing, solve
from convslim.channels.graph import ChannelGraph
from convslim.channels.tape import ExampleInput
from convslim.channels.trace import trace
from convslim.criteria.reconstruction import error_curves
from convslim.errors import DataError
from convslim.measure.parity import Parity, parity
from convslim.measure.watch import Watch
from convslim.surgery.reconstruction import Reconstruction, reconstruct_
from convslim.surgery.reconstruction.pair import num_images
from convslim.surgery.remove import carry_out
from convslim.surgery.verify import Certificate

_BATCH, _BATCH_VALUES = 100, 4_500_000
HELD_OUT = 5
"""Every fifth batch is kept for the comparison at the end."""

CURVE_IMAGES = 1000
"""Images that are enough for the curves; the refits take all."""


Timer = Callable[[ChannelGraph, nn.Module, ExampleInput], Timing | None]
"""Measures a network for a budget of latency: its graph, the network, one image."""


@dataclass(frozen=True, eq=False)
class Compression:
    """A smaller network, and how it was made.

    Attributes:
        model: The smaller network.
        allocation: The plan, and the cost before and after.
        certificate: Proof that the cut network was the original without the removed channels.
        reconstruction: What was refitted.
        parity_cut, parity: How equal the network is to the original on images that nothing was fitted on, after the
            cut, and after the reconstruction.
    """

    model: nn.Module
    allocation: Allocation
    certificate: Certificate
    reconstruction: Reconstruction
    parity_cut: Parity
    parity: Parity


def compress(
    model: nn.Module,
    images: Tensor | Iterable[ExampleInput],
    budget: Mapping[str, float],
    *,
    round_to: int = 8,
    min_channels: int = 1,
    min_ratio: float = 0.1,
    keep: Iterable[str] = (),
    watch: Watch | None = None,
    timer: Timer | None = None,
) -> Compression:
    """Cut a trained network to a budget and reconstruct what is left by least squares; no labels, no training.

    The channels whose removal costs least error go (:func:`convslim.criteria.reconstruction.error_curves`), every layer
    as many as cost least in all; the removal is proven, and the layers that read removed channels are refitted
    (:func:`convslim.surgery.reconstruction.reconstruct_`).

    Args:
        model: The trained network, left as found.
        images: What the network takes, normalized as for its training: a tensor ``(N, ...)``, or batches. 500 to 5,000
            images; more are better. Every fifth batch is not fitted, but compared at the end.
        budget: As for :func:`convslim.allocate`, for example ``{"macs": 0.6}``.
        round_to, min_channels, min_ratio, keep: As for :func:`convslim.allocate`.
        watch: Called with what is being done, how many parts of it are done, and how many there are.
        timer: Such as :func:`convslim.timing`, for a budget of latency.

    Raises:
        BudgetError: If the budget is malformed or cannot be reached.
        DataError: If there are fewer than two batches.
        ModelError: If the network cannot be run layer by layer.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 1), nn.Flatten(), nn.Linear(8 * 36, 4))
    >>> done = compress(net, torch.randn(400, 3, 8, 8), {"macs": 0.6})
    >>> done.allocation.macs <= 0.6 * done.allocation.original_macs, done.parity.error < done.parity_cut.error
    (True, True)
    """
    fitted, held = fitted_and_held(images)
    example = tree_map_only(Tensor, lambda tensor: tensor[:1] if tensor.dim() else tensor, fitted[0])
    graph = trace(model, example)
    allocation = solve(
        graph,
        error_curves(graph, model, _first(fitted, CURVE_IMAGES), watch=watch).scores(),
        budget,
        how="reconstruction",
        round_to=round_to,
        min_channels=min_channels,
        min_ratio=min_ratio,
        keep=keep,
        latency=None if timer is None else timer(graph, model, example),
    )
    removal = carry_out(model, allocation.plan, example, graph=graph)
    small = removal.model
    cut = parity(model, small, held)
    reconstruction = reconstruct_(small, model, allocation.plan, fitted, graph=graph, watch=watch)
    return Compression(small, allocation, removal.certificate, reconstruction, cut, parity(model, small, held))


def fitted_and_held(
    images: Tensor | Iterable[ExampleInput],
) -> tuple[list[ExampleInput], list[ExampleInput]]:
    """Batches to fit, and batches to compare at the end."""
    batches: list[ExampleInput]
    if isinstance(images, Tensor):
        batches = [part for part in images.tensor_split(_num_batches(images)) if len(part)]
    else:
        batches = list(images)
    if len(batches) < 2:
        raise DataError(
            f"{len(batches)} batch of images is too few: some are fitted, and others compared at the end. "
            "Give a few hundred images, in two batches at least."
        )
    every = min(HELD_OUT, len(batches))
    held = batches[every - 1 :: every]
    return [batch for number, batch in enumerate(batches, start=1) if number % every], held


def images_per_batch(shape: Sequence[int]) -> int:
    """How many images of a shape, ``(C, H, W)``, to take at a time: the larger they are, the fewer.

    >>> images_per_batch((3, 32, 32)), images_per_batch((3, 224, 224))
    (100, 29)
    """
    return max(1, min(_BATCH, _BATCH_VALUES // max(1, math.prod(shape))))


def _num_batches(images: Tensor) -> int:
    return max(HELD_OUT, -(-len(images) // images_per_batch(images.shape[1:])))


def _first(batches: Sequence[ExampleInput], count: int) -> list[ExampleInput]:
    """As many of the first batches as hold ``count`` images, or all."""
    before = itertools.accumulate((num_images(batch) for batch in batches), initial=0)
    return [batch for batch, seen in zip(batches, before, strict=False) if seen < count]
