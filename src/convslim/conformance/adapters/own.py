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
    return halve


def halve(model: nn.Module, task: Task) -> Answer:
    """Trace, score by L1, allocate the same share to every group, remove."""
    try:
        graph = trace(model, task.example)
        reasons = _reasons(graph)
        if not graph.prunable:
            return Answer(None, refused=reasons)
        scores = score(graph, model, "l1")
        plan = allocate(graph, scores, {}, how="per-group", ratios={"*": task.share}, round_to=1)
        small = remove(model, plan, task.example, graph=graph)
    except ConvslimError as error:
        return Answer(None, refused={"": f"{type(error).__name__}: {error}"})
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
