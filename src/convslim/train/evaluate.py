"""How good a network is on a split."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning_fabric.utilities.apply_func import move_data_to_device
from torch import nn

from convslim.bfloat16 import autocast
from convslim.data import ImageSplit
from convslim.train.config import Precision
from convslim.train.devices import threads as limited_threads
from convslim.train.forward import outputs_of
from convslim.train.progress import progress
from convslim.train.task import Measured
from convslim.train.tasks import task_of


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
    split: ImageSplit,
    *,
    batch_size: int = 256,
    precision: Precision = "32",
    channels_last: bool = False,
    threads: int | None = None,
    limit: int | None = None,
    quiet: bool = True,
) -> Measured:
    """Measure a network on a split: `Metrics` where images have labels, `DetectionMetrics` where they have objects.

    The default, float32 and no averaging of rounded shares, gives exact counts. Under `torchrun` the processes share
    every batch; the model is left as it was found.

    Args:
        precision: "bf16" runs under autocast, about twice as fast on recent CPUs, with rounded scores.
        limit: evaluate only the first `limit` images.
        quiet: draw no progress bar.

    Raises:
        DataError: the split gave no image, or a target that the model does not know.
        ModelError: the model fails on a batch.
    """
    task = task_of(split)
    judge = task.judge(split)
    device = next((tensor.device for tensor in model.state_dict().values()), torch.device("cpu"))
    rank, world_size = _place()
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    batches = split.batches(batch_size, rank=rank, world_size=world_size, limit=limit)
    cast = autocast(device, enabled=precision == "bf16")
    bar = progress("evaluate", len(batches), quiet=quiet or rank > 0)
    with evaluating(model), limited_threads(threads), torch.inference_mode(), bar as advance, cast:
        for number, (images, targets) in enumerate(batches):
            positions = number * batch_size + rank + world_size * torch.arange(len(images))
            targets = move_data_to_device(targets, device)
            outputs = outputs_of(task, model, images.to(device, memory_format=memory_format), targets)
            judge.add_(outputs, targets, positions)
            advance(judge.note())
    if world_size > 1:
        judge.gather_(device)
    return judge.measured()


def _place() -> tuple[int, int]:
    """Rank and number of the processes that share the images."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()
