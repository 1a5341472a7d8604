"""Carrying a plan out layer by layer, from shallow to deep, with every network on the way proven."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from convslim.channels.graph import ChannelGraph
from convslim.channels.tape import ExampleInput
from convslim.channels.trace import trace
from convslim.measure.cost import cost
from convslim.surgery.form import planned_form
from convslim.surgery.plan import PruningPlan, make_plan
from convslim.surgery.remove import carry_out
from convslim.surgery.verify import TOLERANCE, Certificate, verify


@dataclass(frozen=True)
class LayerCut:
    """One group's cut.

    Attributes:
        group: Its name.
        kept, channels: How many of its channels stay, of how many.
        macs, params: Of the network behind this cut.
        relative_error: Of its proof, against the network before this cut.
    """

    group: str
    kept: int
    channels: int
    macs: int
    params: int
    relative_error: float


@dataclass(frozen=True, eq=False)
class LayerwiseRemoval:
    """A smaller model, its proof against the original, and the cuts in their order."""

    model: nn.Module
    certificate: Certificate
    cuts: tuple[LayerCut, ...]


def carry_out_layerwise(
    model: nn.Module,
    plan: PruningPlan,
    example_input: ExampleInput,
    *,
    graph: ChannelGraph,
    tolerance: float = TOLERANCE,
    on_cut: Callable[[LayerCut], object] = lambda cut: None,
) -> LayerwiseRemoval:
    """Remove the channels of one group after the other, in the order in which the forward pass meets them.

    Every network on the way is traced anew and proven equal to the masked one before it, the last one to the masked
    original, too. It has the same weights, to the bit, as if the plan had been carried out at once.

    Args:
        model, plan, example_input, tolerance: As for :func:`convslim.remove`.
        graph: The model's graph.
        on_cut: Called with every cut.

    Raises:
        VerificationError: A network is not the masked one before it.

    >>> import torch, convslim
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 6, 1), torch.nn.Conv2d(6, 2, 1))
    >>> x = torch.randn(1, 3, 8, 8)
    >>> graph = convslim.trace(net, x)
    >>> plan = convslim.make_plan(graph, {"0": [0, 2, 5], "1": [1, 2]})
    >>> [(cut.group, cut.kept, cut.params) for cut in carry_out_layerwise(net, plan, x, graph=graph).cuts]
    [('0', 3, 122), ('1', 2, 98)]
    """
    small, cuts = model, []
    for group in graph.groups:
        kept = plan.kept.get(group.name, ())
        if group.name not in plan.kept or len(kept) == group.num_channels:
            continue
        now = graph if small is model else trace(small, example_input, ways=(plan.way,))
        removal = carry_out(small, make_plan(now, {group.name: kept}), example_input, graph=now, tolerance=tolerance)
        small = removal.model
        size = cost(small, example_input)
        error = removal.certificate.relative_error
        cuts.append(LayerCut(group.name, len(kept), group.num_channels, size.macs, size.params, error))
        on_cut(cuts[-1])
    certificate = verify(planned_form(model, plan), small, plan, example_input, graph=graph, tolerance=tolerance)
    return LayerwiseRemoval(small, certificate, tuple(cuts))
