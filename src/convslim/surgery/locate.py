"""Where a smaller model and the masked original part: looked up when a proof has failed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from convslim.channels.probe import Evidence
from convslim.surgery.masking import See, restricted

Run = Callable[[See], object]


def first_difference(
    run_small: Run, run_masked: Run, evidence: Evidence, stays: np.ndarray, num_operations: int, tolerance: float
) -> str:
    """The first operation whose kept channels have other values, as the end of a sentence; empty if none has.

    Args:
        run_small: Runs the smaller model and shows the results of every operation, numbered from 0.
        run_masked: Runs the masked original in the same way.
        evidence: The original's recorded pass.
        stays: Mask over labels, True where the channel stays.
        num_operations: How many operations of both correspond.
        tolerance: Largest error relative to the largest value.
    """
    results: list[list[Tensor]] = []
    run_small(lambda _, outs: results.append([out.clone() for out in outs]))
    different: list[int] = []

    def see(index: int, outs: list[Tensor]) -> None:
        if different or index >= num_operations or evidence.tape.calls[index].name.endswith(("empty", "empty_like")):
            return
        for out, value, found in zip(outs, evidence.labeler.flows[index], results[index], strict=False):
            if _far(restricted(out, value.axes, stays), found, tolerance):
                different.append(index)

    run_masked(see)
    if not different:
        return ""
    call = evidence.tape.calls[different[0]]
    return f", first at operation {call.index}, {call.title} in {call.module or 'the model'} ({call.source})"


def _far(expected: Tensor, found: Tensor, tolerance: float) -> bool:
    if expected.shape != found.shape or not expected.numel() or expected.is_complex():
        return False
    left, right = expected.double(), found.double()
    return not bool((left - right).abs().max() <= tolerance * left.abs().max())
