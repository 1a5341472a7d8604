"""What judging a candidate does with its network: estimate statistics, count."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from convslim.errors import DataError, ModelError
from convslim.search.evaluation import Evaluation
from convslim.search.evaluation_bound import is_hopeless
from convslim.search.evaluation_images import JudgingImages

Run = Callable[[Tensor], Tensor]


@contextmanager
def undrawn(device: torch.device) -> Iterator[None]:
    """Without gradients, and with the random state put back: a network may draw in evaluation mode, too."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode():
        torch.manual_seed(0)
        yield


def run(network: nn.Module, images: Tensor, how: Run | None = None) -> Tensor:
    """Class scores, (N, num_classes), by the network itself or by what runs it.

    Raises:
        ModelError: If the network fails on the images, or gives something else.
    """
    try:
        # Not called as a module: that would print the generated code of a graph that fails.
        whole = network.forward if isinstance(network, torch.fx.GraphModule) else network
        scores = (how or whole)(images)
    except Exception as error:  # the network's own code can raise anything
        raise ModelError(
            f"{type(network).__name__} failed on a batch of shape {tuple(images.shape)}: "
            f"{type(error).__name__}: {error}. Check that the network fits the images."
        ) from error
    if not isinstance(scores, Tensor) or scores.dim() != 2 or len(scores) != len(images):
        found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ModelError(
            f"The network returned {found} for a batch of shape {tuple(images.shape)}; candidates are judged by "
            f"class scores, a tensor of shape ({len(images)}, num_classes)."
        )
    return scores


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


def count(run: Run, images: JudgingImages, *, hopeless_below: float | None, error: float, started: float) -> Evaluation:
    """Count what is right, until all images were seen or there is no hope.

    Args:
        run: Gives class scores.
        images: Only those that count are looked at.
        hopeless_below, error: See :func:`~convslim.search.evaluation_bound.is_hopeless`.
        started: `time.perf_counter()` when the evaluation began.

    Raises:
        DataError: If a label is no class of the network.
    """
    correct, seen, total, looks = 0, 0, len(images.images), images.num_batches
    for batch, labels in images.batches():
        scores = run(batch)
        _check(labels, scores)
        correct += int((scores.argmax(1) == labels).sum())
        seen += len(labels)
        if hopeless_below is not None and is_hopeless(
            correct, seen, total, below=hopeless_below, looks=looks, error=error
        ):
            return Evaluation(correct, seen, seen == total, time.perf_counter() - started)
    return Evaluation(correct, seen, True, time.perf_counter() - started)


def _check(labels: Tensor, scores: Tensor) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= scores.shape[1]:
        raise DataError(
            f"Labels run from {low} to {high}, but the network scores {scores.shape[1]} classes. "
            "Correct the labels, or give the network that belongs to them."
        )
