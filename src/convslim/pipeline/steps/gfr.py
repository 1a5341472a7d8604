"""What relation modules change for step `prune`: the network that is cut, and what tells its channels' worth."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, ValidationError
from torch import Tensor, nn

from convslim.channels.graph import ChannelGraph
from convslim.channels.tape import ExampleInput
from convslim.channels.trace import trace
from convslim.criteria.criterion import Criterion
from convslim.errors import PlanError, RecipeError, nearest
from convslim.pipeline.state import StepConfig
from convslim.sparsity import (
    Importance,
    detach_relations_,
    fold_relations_,
    relation_importance,
    relations_in,
    relationship_factors,
)
from convslim.surgery import PruningPlan
from convslim.surgery.plan import make_plan
from convslim.train.devices import on_device

GFR = "gfr"
"""The criterion of networks with relation modules."""


class GfrOptions(StepConfig):
    """Options of criterion `gfr`.

    `weight` is a of importance `weighted`. `keep_gfr` slices the modules with the network; otherwise their mean factors
    are folded into the BatchNorms.
    """

    importance: Importance = "product"
    weight: float = Field(default=0.5, ge=0, le=1)
    keep_gfr: bool = False


def gfr_options(given: Mapping[str, Any]) -> GfrOptions:
    """Options of criterion `gfr` from a recipe.

    Raises:
        PlanError: there is no such option or value.
    """
    known = GfrOptions.model_fields
    for name in given:
        if name not in known:
            raise PlanError(
                f"Criterion 'gfr' has no option {name!r}; its options are {', '.join(known)}.{nearest(name, known)}"
            )
    try:
        return GfrOptions.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        raise PlanError(f"Option {first['loc'][0]!r} of criterion 'gfr': {first['msg']}.") from error


@dataclass(frozen=True)
class Subject:
    """What a prune step cuts, and by what.

    Attributes:
        model: The network to cut; that of the state, or, folded, one without relation modules.
        scored: The network with the weights that the criterion looks at.
        criterion: A name, or a criterion with what it needs.
        details: For the record.
    """

    model: nn.Module
    scored: nn.Module
    criterion: str | Any
    details: dict[str, Any] = field(default_factory=dict)


def related(model: nn.Module, options: GfrOptions, images: Iterable[Tensor], *, last: bool) -> Subject:
    """The subject of a cut by criterion `gfr`.

    Factors are measured and importances made of the network with its modules; then the modules are folded, if this is
    the last cut of its schedule and they are not to be kept.

    Raises:
        RecipeError: The network has no relation modules.
    """
    if relations_in(model) is None:
        raise RecipeError(no_relations())
    measured = on_device(model)
    device = next(measured.parameters()).device
    factors = relationship_factors(measured, (batch.to(device) for batch in images))
    criterion = _criterion(model, factors, options)
    kept = options.keep_gfr or not last
    rounded = {name: [round(sr, 6) for sr in values.tolist()] for name, values in factors.items()}
    details = {"gfr": {"factors": rounded, "folded": not kept}}
    if kept:
        return Subject(model, model, criterion, details)
    folded = copy.deepcopy(model)
    fold_relations_(folded, factors)
    return Subject(folded, model, criterion, details)


def _criterion(model: nn.Module, factors: dict[str, Tensor], options: GfrOptions) -> Criterion:
    scales = {name: model.get_parameter(f"{name}.weight").detach() for name in factors}
    return relation_importance(factors, scales, options.importance, options.weight)


def no_relations() -> str:
    """What is told where criterion `gfr` finds no relation modules."""
    return (
        "Criterion 'gfr' ranks channels by relation modules, and the network has none. Put a step "
        "'sparsify: {gfr: {}, epochs: …}' before, and cut by 'gfr' once, or with keep_gfr."
    )


def without_relations(model: nn.Module) -> nn.Module:
    """The user's own network: the model, or a copy of it without its relation modules, which count as untrained."""
    if relations_in(model) is None:
        return model
    plain = copy.deepcopy(model)
    detach_relations_(plain)
    return plain


def plan_without_relations(
    model: nn.Module, plan: PruningPlan, example: ExampleInput, graph: ChannelGraph
) -> PruningPlan:
    """The plan for the user's own network, of one that was made for it with relation modules.

    Args:
        model: The network before the cut, with its modules.
        plan: Made for it.
        graph: The trace that the plan was made from.
    """
    own = trace(without_relations(model), example, ways=(graph.way,))
    return make_plan(own, {group.name: plan.kept[group.name] for group in own.prunable})
