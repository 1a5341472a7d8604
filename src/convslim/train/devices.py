"""Where training runs: one process, or the processes that `torchrun` started, on CPUs or GPUs."""

from __future__ import annotations

import atexit
import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn


def connect(accelerator: str = "auto") -> Fabric:
    """A Fabric over the processes of this run.

    Alone, it drives one device. Under `torchrun` it joins the others: NCCL on GPUs, gloo on CPUs, gradients
    averaged by `DistributedDataParallel`.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator=accelerator,
        devices=local_size,
        num_nodes=max(world_size // local_size, 1),
        strategy="ddp" if world_size > 1 else "auto",
    )
    fabric.launch()
    atexit.unregister(_leave)
    atexit.register(_leave)
    return fabric


def _leave() -> None:
    """End the process group before the interpreter does: gloo's threads abort a process that forgets."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def on_device(model: nn.Module) -> nn.Module:
    """A copy of the model on the device that `fit` would train on."""
    return connect().to_device(copy.deepcopy(model))


def sum_over_processes(fabric: Fabric, values: Tensor) -> Tensor:
    """Sum of a tensor over all processes."""
    total = fabric.all_reduce(values, reduce_op="sum")
    assert isinstance(total, Tensor), "a tensor was reduced to something else"
    return total


def share_state_(fabric: Fabric, model: nn.Module) -> None:
    """Give every process the first one's parameters and buffers (BatchNorm statistics differ otherwise)."""
    if fabric.world_size > 1:
        for tensor in model.state_dict().values():
            torch.distributed.broadcast(tensor, src=0)


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Run with this many intra-op threads of PyTorch, then as before; `None` leaves them."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Leave PyTorch's global random-number generators as they were found."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield


def epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """Seed of the dropout of one epoch in one process; distinct for distinct arguments.

    >>> epoch_seed(0, 1) != epoch_seed(1, 0)
    True
    """
    return (seed * 1_000_003 + epoch) * 4_096 + rank
