"""convslim, as its documentation says it is used."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from convslim import allocate, remove, score, trace
from convslim.channels.graph import ChannelGraph
from convslim.conformance.tool import Answer, Task, Tool
from convslim.errors import ConvslimError


def factory() -> Tool:
    """The adapter."""
    return prune


def prune(model: nn.Module, task: Task) -> Answer:
    """Trace, and cut; an error that is meant for users is a refusal with its message as the reason."""
    try:
        return cut_by_l1(trace(model, task.example), model, task)
    except ConvslimError as error:
        return Answer(None, refused={"": f"{type(error).__name__}: {error}"})


def cut_by_l1(graph: ChannelGraph, model: nn.Module, task: Task) -> Answer:
    """Score by the L1 norm, allocate the same share to every group, remove."""
    reasons = _reasons(graph)
    if not graph.prunable:
        return Answer(None, refused=reasons)
    scores = score(graph, model, "l1")
    plan = allocate(graph, scores, {}, how="per-group", ratios={"*": task.share}, round_to=1)
    small = remove(model, plan, task.example, graph=graph)
    return Answer(small, _approximations(graph, plan.removed), reasons)


def _reasons(graph: ChannelGraph) -> dict[str, str]:
    """Why pinned channels stay, by the layers and tensors that make them."""
    reasons: dict[str, str] = {}
    for group in graph.groups:
        makers = [*group.producers, *(axis.tensor for axis in group.axes if axis.role == "out")]
        if group.pins:
            reasons |= dict.fromkeys(filter(None, makers), "; ".join(str(pin) for pin in group.pins))
    return reasons


def _approximations(graph: ChannelGraph, names: Iterable[str]) -> str:
    """Why the removal is only approximate, for the groups that lose channels."""
    return "; ".join(dict.fromkeys(str(pin) for name in names for pin in graph.group(name).approximations))
