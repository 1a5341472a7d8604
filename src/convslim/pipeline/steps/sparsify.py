"""Step `sparsify`: training with an L1 penalty on the BatchNorm scales of prunable channels, and relation modules."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from convslim.channels.graph import ChannelGraph
from convslim.channels.trace import trace
from convslim.criteria.activated import activated
from convslim.measure.distribution import distribution
from convslim.pipeline.state import Context, Outcome, State, StepConfig
from convslim.pipeline.steps.train import run_train
from convslim.sparsity import (
    Penalty,
    Proximal,
    Subgradient,
    attach_relations_,
    relations_in,
    scale_strengths,
)
from convslim.train import TrainConfig

PENALTIES: dict[str, Callable[[dict[str, Tensor]], Penalty]] = {"subgradient": Subgradient, "proximal": Proximal}


class RelationOptions(StepConfig):
    """Relation modules, whose hidden layer is `reduction` times narrower than their BatchNorm, but has 4 channels."""

    reduction: int = Field(default=16, ge=1)


class SparsifyStep(TrainConfig):
    """A training with penalty `strength · Σ|γ_c|`, by its subgradient or its proximal operator.

    With `gfr` relation modules are put in before, and stay in the network. `linear: false` presses on no scales of
    channels that enter no activation behind their normalization (projections, residual trunks).
    """

    strength: float = Field(default=1e-4, gt=0)
    method: Literal["subgradient", "proximal"] = "subgradient"
    gfr: RelationOptions | None = None
    linear: bool = True


def run_sparsify(config: SparsifyStep, state: State, context: Context) -> Outcome:
    """Train under the penalty, and count what it pressed on."""
    graph = trace(state.model, context.example_input)
    inner = activated(graph)
    reached = graph if config.linear else replace(graph, groups=tuple(g for g in graph.groups if g.name in inner))
    strengths = scale_strengths(reached, state.model, config.strength)
    model, related = _with_relations(config, state.model, graph)
    outcome = run_train(config, replace(state, model=model), context, penalty=PENALTIES[config.method](strengths))
    assert outcome.model is not None, "training gives a model"
    scales = dict(outcome.model.named_parameters())
    pressed = [
        scales[name].detach().abs().cpu().double()[strength.cpu() > 0].numpy() for name, strength in strengths.items()
    ]
    found = {
        "penalized_layers": len(strengths),
        "penalized_scales": sum(map(len, pressed)),
        "scales_below_0.01": sum(int((found < 0.01).sum()) for found in pressed),
        "scales": distribution({"scales": np.concatenate([np.zeros(0), *pressed])}),
    }
    return Outcome(model=outcome.model, details={**outcome.details, **found, **related})


def _with_relations(config: SparsifyStep, model: nn.Module, graph: ChannelGraph) -> tuple[nn.Module, Mapping[str, Any]]:
    """The network to train; one that has relation modules already goes on with them."""
    if config.gfr is None or relations_in(model) is not None:
        return model, {}
    related = copy.deepcopy(model)
    relations, left = attach_relations_(related, graph, reduction=config.gfr.reduction, seed=config.seed)
    return related, {"gfr": {**relations.to_data(), "left": dict(left)}}
