"""From a traced network to the plain record of its channel groups and of what depends on them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from convslim.report.graph_record import AxisRecord, GraphRecord, GroupRecord, LayerRecord, PlaceRecord

if TYPE_CHECKING:
    from convslim.channels.graph import ChannelGraph, ChannelGroup, Pin


def graph_record(graph: ChannelGraph, model: str) -> GraphRecord:
    """Describe a channel graph, with its costs, as data that becomes JSON.

    Args:
        graph: What :func:`convslim.trace` found.
        model: The network's name, for headings.

    >>> import torch
    >>> from convslim.channels.trace import trace
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 1))
    >>> record = graph_record(trace(net, torch.zeros(1, 3, 10, 10)), "small")
    >>> [(group.name, group.state, group.macs) for group in record.groups], record.macs
    ([('0', 'prunable', 24800), ('2', 'pinned', 3200)], 24800)
    """
    from convslim.measure.cost import METRICS, CostModel, layer_costs  # PyTorch, which pages of a record do without

    costs = CostModel(graph)
    # Row g: group g removed whole. Last row: all prunable groups removed.
    kept = np.tile(costs.sizes, (len(graph.groups) + 1, 1))
    np.fill_diagonal(kept, 0)
    kept[-1, [group.prunable for group in graph.groups]] = 0
    gone = costs.evaluate(costs.sizes) - costs.evaluate(kept)
    macs, params = (gone[:, METRICS.index(metric)].tolist() for metric in ("macs", "params"))
    total = layer_costs(graph)
    return GraphRecord(
        model=model,
        structure=graph.structure,
        way=graph.way,
        way_reason=graph.way_reason,
        macs=total.macs,
        macs_prunable=macs[-1],
        params=total.params,
        groups=tuple(map(_group, graph.groups, macs, params)),
        layers=tuple(
            LayerRecord(module=layer.module, operation=layer.operation, macs=layer.macs, params=layer.params)
            for layer in total.layers
        ),
        unused=graph.unused,
        notes=graph.notes,
    )


def _group(group: ChannelGroup, macs: int, params: int) -> GroupRecord:
    return GroupRecord(
        name=group.name,
        channels=group.num_channels,
        prunable=group.prunable,
        exact=group.exact,
        macs=macs,
        params=params,
        producers=group.producers,
        consumers=group.consumers,
        constraints=group.constraints,
        pins=_places(group.pins),
        approximations=_places(group.approximations),
        axes=tuple(
            AxisRecord(tensor=axis.tensor, dim=axis.dim, role=axis.role, multiplicity=axis.index.shape[1])
            for axis in group.axes
        ),
    )


def _places(pins: Iterable[Pin]) -> tuple[PlaceRecord, ...]:
    return tuple(
        PlaceRecord(reason=pin.reason, operation=pin.operation, module=pin.module, source=pin.source) for pin in pins
    )
