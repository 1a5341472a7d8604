"""Making the scores of different groups comparable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from convslim.channels.graph import ChannelGroup
from convslim.criteria.criterion import Criterion


def normalized(criterion: Criterion) -> Criterion:
    """The same criterion with every group's scores divided by their mean over the group.

    ``I'_c = I_c / mean_j I_j``: a channel's importance relative to its own group. A global ranking of norms
    or distances needs it, since their scale grows with the fan-in of a layer and with the number of coupled
    layers; the ranking inside a group is left as it is. Groups that score zero throughout stay zero.

    >>> from convslim.criteria.l1 import l1
    >>> normalized(l1()).name
    'normalized(l1)'
    """
    inner = criterion.function

    def function(
        group: ChannelGroup, tensors: Mapping[str, Tensor], gradients: Mapping[str, Tensor] | None, /
    ) -> Tensor | None:
        scores = inner(group, tensors, gradients)
        mean = scores.mean() if scores is not None else None
        return scores / mean if scores is not None and mean else scores

    return replace(criterion, name=f"normalized({criterion.name})", function=function)
