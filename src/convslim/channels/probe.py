"""Trial removal: does the model's own code agree with the labels?

Python code may hold channel counts as numbers: ``view(-1, 1024)``, ``split(x, [8, 24])``, ``x / 64``. A tape cannot
tell them from numbers that were computed from a shape. So a part of every group is removed in a throw-away copy, the
copy runs once, and its tape is compared with what the labels promise, call by call. The first disagreement names the
call whose numbers are fixed: its next option is taken, or its channels are pinned, and the trial starts again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils._pytree import tree_flatten

from convslim.channels.graph import ChannelGraph
from convslim.channels.labeler import Labeler, Rule
from convslim.channels.labels import Vector
from convslim.channels.rules import by_tag, elementwise
from convslim.channels.slicing import removed_mask
from convslim.channels.tape import OpCall, Tape, TensorRef
from convslim.channels.values import Axes, Value


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a graph was made from.

    Attributes:
        tape: The recorded pass.
        labeler: The walk over it.
        rules: The table of rules it used.
        choices: Options that were taken where the model leaves a choice.
    """

    tape: Tape
    labeler: Labeler
    rules: Mapping[str, Rule]
    choices: Mapping[int, int]


@dataclass(frozen=True)
class Mismatch:
    """The first call at which a rewritten model does not do what the labels promise.

    Attributes:
        index: The call.
        message: What differs.
        diverges: True if the rewritten model runs another operation there, so that nothing after it is compared.
    """

    index: int
    message: str
    diverges: bool = False


def trial_kept(graph: ChannelGraph, at_least: int = 1) -> dict[str, Vector]:
    """An irregular third of every prunable group, different from group to group: little is left to compute.

    Args:
        graph: The groups.
        at_least: Channels that stay in every group; groups that have no more stay whole.
    """
    kept = {}
    for number, group in enumerate(graph.prunable):
        size = group.num_channels
        if size > at_least:
            count = min(max(size // 3 + number % 3 - 1, min(2, size - 1), at_least), size - 1)
            kept[group.name] = np.sort(np.random.default_rng(number).permutation(size)[:count])
    return kept


def kept_labels(
    graph: ChannelGraph, labeler: Labeler, kept: Mapping[str, Sequence[int] | Vector]
) -> npt.NDArray[np.bool_]:
    """Mask over labels: True where the channel stays."""
    classes = labeler.store.resolve()
    stays = np.ones(int(classes.max()) + 1, dtype=bool)
    for group in graph.groups:
        if group.name in kept:
            axis = group.axes[0]
            positions = axis.index[removed_mask(group, kept[group.name])].reshape(-1)
            stays[classes[labeler.seeds[axis.tensor][axis.dim][positions]]] = False
    return stays[classes]


def _restricted_seeds(seeds: Mapping[str, Axes], stays: npt.NDArray[np.bool_]) -> dict[str, Axes]:
    """The labels that the rewritten model's tensors must carry."""
    return {name: {dim: labels[stays[labels]] for dim, labels in axes.items()} for name, axes in seeds.items()}


def compare(evidence: Evidence, other: Tape, stays: npt.NDArray[np.bool_]) -> Mismatch | None:
    """First call of ``other`` (the rewritten model) that is not the restriction of the original's, or None."""
    tape, labeler = evidence.tape, evidence.labeler
    other_labeler = Labeler(
        evidence.rules, evidence.choices, seeds=_restricted_seeds(labeler.seeds, stays), like=labeler
    )
    other_labeler.walk(other, by_tag)
    classes = labeler.store.resolve()
    calls = tape.calls[: tape.compared]
    for call, flow, twin, twin_flow in zip(calls, labeler.flows, other.calls, other_labeler.flows, strict=False):
        if call.name != twin.name or len(call.outs) != len(twin.outs):
            message = f"the smaller model runs {twin.title} where the model runs {call.title}"
            return Mismatch(call.index, message, diverges=True)
        if _scalars_differ(call, twin):
            return Mismatch(call.index, f"a number passed to {call.title} depends on the channel count")
        for out, value, twin_out, twin_value in zip(call.outs, flow, twin.outs, twin_flow, strict=True):
            message = _differs(out, value, twin_out, twin_value, stays, classes)
            if message:
                return Mismatch(call.index, f"{call.title}: {message}")
    if len(other.calls) < len(calls):
        reason = f"the smaller model fails here: {other.error}" if other.error else "the smaller model stops here"
        return Mismatch(len(other.calls), reason, diverges=other.error is None)
    return None


def _scalars_differ(call: OpCall, twin: OpCall) -> bool:
    """Arithmetic must use the same numbers: a scale of ``1/sqrt(channels)`` is no removal."""
    return call.literal != twin.literal or _numbers(call) != _numbers(twin)


def _numbers(call: OpCall) -> list[Any]:
    if elementwise.is_pointwise(call) or call.name in elementwise.RULES:
        leaves = tree_flatten((call.args, dict(call.kwargs)))[0]
    else:
        leaves = [call.bound[name] for name in _FACTORS.get(call.name, ())]
    return [leaf for leaf in leaves if isinstance(leaf, int | float)]


_FACTORS = {  # arguments of other operations that are values, not sizes
    **dict.fromkeys(("full", "new_full", "full_like"), ("fill_value",)),
    **dict.fromkeys(("addmm", "baddbmm"), ("beta", "alpha")),
    "scalar_tensor": ("s",),
    "linspace": ("start", "end"),
}


def _differs(
    out: TensorRef, value: Value, twin: TensorRef, twin_value: Value, stays: npt.NDArray[np.bool_], classes: Vector
) -> str:
    if len(out.shape) != len(twin.shape):
        return f"the result has {len(twin.shape)} dimensions instead of {len(out.shape)}"
    for dim, size in enumerate(out.shape):
        expected = value.axes.get(dim)
        if expected is None:
            if twin.shape[dim] != size and not value.fits(dim):
                return f"dimension {dim} has size {twin.shape[dim]} instead of {size}"
            continue
        left = expected[stays[expected]]
        if len(left) != twin.shape[dim]:
            return f"dimension {dim} has {twin.shape[dim]} channels instead of {len(left)}"
        found = twin_value.axes.get(dim)
        if found is not None and (classes[found] != classes[left])[found != 0].any():
            return f"the channels along dimension {dim} are not the ones that were kept"
    return ""
