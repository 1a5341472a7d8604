"""Running somebody's model so that it is afterwards as it was before."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def collector_paused() -> Iterator[None]:
    """No garbage collection meanwhile: a tape's thousands of small records make it walk the whole heap, for nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def undisturbed(model: nn.Module, training: bool = False) -> Iterator[None]:
    """Run the model in one mode without gradients; flags, buffers and random state are put back afterwards."""
    flags = [(module, module.training) for module in model.modules()]
    buffers = [
        (module._buffers, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode(False), torch.no_grad(), _plain_arithmetic():
        try:
            model.train(training)
            yield
        finally:
            for module, flag in flags:
                module.training = flag
            for held, name, buffer, value in buffers:
                held[name] = buffer
                buffer.copy_(value)


@contextmanager
def _plain_arithmetic() -> Iterator[None]:
    """Every run does all its operations in the open.

    The fused attention of evaluation mode is one opaque operation; autocast would cast weights in the first run only.
    """
    fast_path, cast_cache = torch.backends.mha.get_fastpath_enabled(), torch.is_autocast_cache_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        torch.set_autocast_cache_enabled(cast_cache)
