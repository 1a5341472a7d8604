"""Making the scores of different groups comparable."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from torch import Tensor

from convslim.criteria.activations import ActivationCriterion
from convslim.criteria.criterion import Criterion

Kind = TypeVar("Kind", bound=Criterion | ActivationCriterion)


def normalized(criterion: Kind) -> Kind:
    """The same criterion with every group's scores divided by their mean over the group.

    ``I'_c = I_c / mean_j I_j``: a channel's importance relative to its own group. A global ranking of norms
    or distances needs it, since their scale grows with the fan-in of a layer and with the number of coupled
    layers; the ranking inside a group is left as it is. Groups that score zero throughout stay zero.

    >>> from convslim.criteria.l1 import l1
    >>> normalized(l1()).name
    'normalized(l1)'
    """
    inner: Any = criterion.function  # of either kind: what goes in is handed on

    def function(*what: Any) -> Tensor | None:
        scores = inner(*what)
        mean = scores.mean() if scores is not None else None
        return scores / mean if scores is not None and mean else scores

    same: Any = function
    return replace(criterion, name=f"normalized({criterion.name})", function=same)
