"""What judging a candidate does with its network: estimate statistics, measure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_flatten

from convslim.errors import ModelError
from convslim.search.evaluation import Evaluation
from convslim.search.evaluation_images import JudgingImages

Run = Callable[[Tensor], Any]


@contextmanager
def undrawn(device: torch.device) -> Iterator[None]:
    """Without gradients, and with the random state put back: a network may draw in evaluation mode, too."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode():
        torch.manual_seed(0)
        yield


def run(network: nn.Module, images: Tensor, how: Run | None = None) -> Any:
    """What a network gives for images, by the network itself or by what runs it.

    Raises:
        ModelError: If the network fails on the images.
    """
    try:
        # Not called as a module: that would print the generated code of a graph that fails.
        whole = network.forward if isinstance(network, torch.fx.GraphModule) else network
        return (how or whole)(images)
    except Exception as error:  # the network's own code can raise anything
        raise ModelError(
            f"{type(network).__name__} failed on a batch of shape {tuple(images.shape)}: "
            f"{type(error).__name__}: {error}. Check that the network fits the images."
        ) from error


def statistics_of(network: nn.Module) -> list[_BatchNorm]:
    """The BatchNorms that keep statistics."""
    return [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]


def estimate_(norms: Sequence[_BatchNorm], run: Run, batches: Sequence[Tensor]) -> None:
    """Replace BatchNorm statistics by their plain average over batches, as `convslim.train.recalibrate_` does.

    Args:
        norms: In evaluation mode, as they are afterwards.
        run: Runs their network.
        batches: Each is normalized by its own statistics.
    """
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
        norm.training = True
    for batch in batches if norms else ():
        run(batch)
    for norm in norms:
        norm.training = False


def measured(
    run: Run, images: JudgingImages, *, hopeless_below: float | None, error: float, started: float
) -> Evaluation:
    """Measure a candidate, until all images were seen or there is no hope.

    Args:
        run: Gives the candidate's outputs.
        images: Only those that count are looked at.
        hopeless_below, error: See :meth:`~convslim.search.evaluation_measure.Tally.is_hopeless`.
        started: `time.perf_counter()` when the evaluation began.

    Raises:
        ModelError: If the outputs are not those of the images' task.
        DataError: If a target does not fit them.
    """
    tally, seen, total, looks = images.measure.tally(), 0, len(images.images), images.num_batches
    for batch, targets in images.batches():
        tally.add_(images.measure.checked(run(batch), batch, targets), targets)
        seen += len(batch)
        if hopeless_below is not None and tally.is_hopeless(hopeless_below, total=total, looks=looks, error=error):
            break
    return tally.evaluation(complete=seen == total, seconds=time.perf_counter() - started)


def first_outputs(run: Run, images: JudgingImages) -> list[Tensor]:
    """The tensors of numbers that a candidate gives for the first batch of images that count, float32.

    Raises:
        ModelError: If they are not those of the images' task.
        DataError: If a target does not fit them.
    """
    batch, targets = images.batches()[0]
    outputs = run(batch)
    images.measure.checked(outputs, batch, targets)
    leaves = [leaf for leaf in tree_flatten(outputs)[0] if isinstance(leaf, Tensor)]
    return [leaf.float() for leaf in leaves if leaf.is_floating_point()]
