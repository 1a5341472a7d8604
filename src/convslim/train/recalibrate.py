"""Re-estimation of BatchNorm statistics, which pruning has made stale."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from convslim.data import ImageSplit
from convslim.errors import DataError
from convslim.train.devices import kept_random_state
from convslim.train.evaluate import evaluating
from convslim.train.forward import outputs_of
from convslim.train.progress import progress
from convslim.train.tasks import task_of


def recalibrate(
    model: nn.Module, split: ImageSplit, *, num_batches: int = 50, batch_size: int = 128, seed: int = 0
) -> nn.Module:
    """A copy of the model whose BatchNorm statistics are those of the data; see `recalibrate_`."""
    fresh = copy.deepcopy(model)
    recalibrate_(fresh, split, num_batches=num_batches, batch_size=batch_size, seed=seed)
    return fresh


@torch.no_grad()
def recalibrate_(
    model: nn.Module,
    split: ImageSplit,
    *,
    num_batches: int = 50,
    batch_size: int = 128,
    seed: int = 0,
    quiet: bool = True,
) -> int:
    """Replace running mean and variance by their plain average over batches, μ = 1/n·Σ μ_i, in place.

    Weights do not change and everything but BatchNorm stays in evaluation mode. Images are shuffled but not
    augmented. A progress bar is drawn unless `quiet`.

    Returns:
        Number of BatchNorm layers that were re-estimated.

    Raises:
        DataError: the split gave no image.
        ModelError: the model fails on a batch.

    References:
        Li et al., "EagleEye: Fast Sub-net Evaluation for Efficient Neural Network Pruning", ECCV 2020.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return 0
    device = next(model.parameters()).device
    task = task_of(split)
    momenta = [norm.momentum for norm in norms]
    batches = split.batches(batch_size, seed=seed, limit=num_batches * batch_size)
    seen = 0
    bar = progress("recalibrate", len(batches), quiet=quiet)
    with evaluating(model), kept_random_state(), bar as advance:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # cumulative average
            norm.training = True
        try:
            for images, targets in batches:
                outputs_of(task, model, images.to(device), targets)
                seen += 1
                advance("")
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
    if seen == 0:
        raise DataError("The split to recalibrate on gave no image. Check the data set's training part.")
    return len(norms)
