"""Where a smaller model and the masked original part: looked up when a proof has failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from convslim.channels.labeler import Value
from convslim.channels.probe import Evidence

Run = Callable[[TorchDispatchMode], object]


class _Watch(TorchDispatchMode):
    """Shows the results of every operation, counted from 0, to ``see``."""

    def __init__(self, see: Callable[[int, list[Tensor]], None]) -> None:
        super().__init__()
        self._see = see
        self._index = -1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._index += 1
        index = self._index
        result = func(*args, **(kwargs or {}))
        self._see(index, [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)])
        return result


def first_difference(
    run_small: Run, run_masked: Run, evidence: Evidence, stays: np.ndarray, num_operations: int, tolerance: float
) -> str:
    """The first operation whose kept channels have other values, as the end of a sentence; empty if none has.

    Args:
        run_small: Runs the smaller model under a dispatch mode.
        run_masked: Runs the masked original under one.
        evidence: The original's recorded pass.
        stays: Mask over labels, True where the channel stays.
        num_operations: How many operations of both correspond.
        tolerance: Largest error relative to the largest value.
    """
    results: list[list[Tensor]] = []
    run_small(_Watch(lambda _, outs: results.append([out.clone() for out in outs])))
    different: list[int] = []

    def see(index: int, outs: list[Tensor]) -> None:
        if different or index >= num_operations or evidence.tape.calls[index].name.endswith(("empty", "empty_like")):
            return
        for out, value, found in zip(outs, evidence.labeler.flows[index], results[index], strict=False):
            if _far(_restricted(out, value, stays), found, tolerance):
                different.append(index)

    run_masked(_Watch(see))
    if not different:
        return ""
    call = evidence.tape.calls[different[0]]
    return f", first at operation {call.index}, {call.title} in {call.module or 'the model'} ({call.source})"


def _restricted(out: Tensor, value: Value, stays: np.ndarray) -> Tensor:
    """The kept channels of a result of the original."""
    for dim, labels in value.axes.items():
        out = out.index_select(dim, torch.as_tensor(np.flatnonzero(stays[labels]), device=out.device))
    return out


def _far(expected: Tensor, found: Tensor, tolerance: float) -> bool:
    if expected.shape != found.shape or not expected.numel() or expected.is_complex():
        return False
    left, right = expected.double(), found.double()
    return not bool((left - right).abs().max() <= tolerance * left.abs().max())
