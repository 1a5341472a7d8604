"""Accuracy and loss of a classifier on a split, counted exactly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from convslim.data import Split
from convslim.errors import DataError
from convslim.train.config import Precision
from convslim.train.devices import autocast
from convslim.train.devices import threads as limited_threads
from convslim.train.forward import logits
from convslim.train.progress import progress


@dataclass(frozen=True)
class Metrics:
    """Result of an evaluation: `correct` of `total` images, mean cross-entropy `loss` in nats."""

    correct: int
    total: int
    loss: float

    @property
    def accuracy(self) -> float:
        """Share of images whose highest score is their label, 0…1."""
        return self.correct / self.total


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; afterwards every module has the training flag it came with."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, flag in before.items():
            module.training = flag


def evaluate(
    model: nn.Module,
    split: Split,
    *,
    batch_size: int = 256,
    precision: Precision = "32",
    channels_last: bool = False,
    threads: int | None = None,
    limit: int | None = None,
    quiet: bool = True,
) -> Metrics:
    """Count correct classifications of a split.

    The default, float32 and no averaging of rounded shares, gives exact counts. Under `torchrun` every
    process takes its share of every batch and the counts are summed. The model is left as it was found.

    Args:
        precision: "bf16" runs under autocast, about twice as fast on recent CPUs, with rounded scores.
        limit: evaluate only the first `limit` images.
        quiet: draw no progress bar.

    Raises:
        DataError: the split gave no image, or a label outside the model's classes.
        ModelError: the model fails on a batch.
    """
    device = next((tensor.device for tensor in model.state_dict().values()), torch.device("cpu"))
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    rank = torch.distributed.get_rank() if distributed else 0
    world_size = torch.distributed.get_world_size() if distributed else 1
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    totals = torch.zeros(3, dtype=torch.float64, device=device)  # correct, images, summed loss
    batches = split.batches(batch_size, rank=rank, world_size=world_size, limit=limit)
    cast = autocast(precision, device)
    bar = progress("evaluate", len(batches), quiet=quiet or rank > 0)
    with evaluating(model), limited_threads(threads), torch.inference_mode(), bar as advance, cast:
        for images, labels in batches:
            labels = labels.to(device)
            scores = logits(model, images.to(device, memory_format=memory_format), labels)
            totals[0] += (scores.argmax(1) == labels).sum()
            totals[1] += len(labels)
            totals[2] += F.cross_entropy(scores, labels, reduction="sum")
            advance(f"{int(totals[0])} of {int(totals[1])} correct")
    if distributed:
        torch.distributed.all_reduce(totals)
    correct, total, loss = totals.tolist()
    if total == 0:
        raise DataError("The split to evaluate on gave no image. Check the data set's test part.")
    return Metrics(correct=int(correct), total=int(total), loss=loss / total)
