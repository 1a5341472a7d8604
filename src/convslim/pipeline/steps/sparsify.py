"""Step `sparsify`: training with a penalty on the scales of prunable channels, and relation modules."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import Field, model_validator
from torch import Tensor, nn

from convslim.channels.graph import ChannelGraph
from convslim.channels.trace import trace
from convslim.criteria.activated import activated
from convslim.measure.distribution import distribution
from convslim.pipeline.state import Context, Outcome, State, StepConfig
from convslim.pipeline.steps.train import run_train
from convslim.sparsity import attach_relations_, gate_strengths, relations_in, scale_strengths
from convslim.sparsity.controller import Aim, Controller
from convslim.sparsity.paced import MethodName, PacedPenalty
from convslim.sparsity.ramp import RampName
from convslim.sparsity.shapes import EPSILON, SHAPES, ShapeName
from convslim.train import TrainConfig
from convslim.train.scale_observer import ScaleObserver


class RelationOptions(StepConfig):
    """Relation modules, whose hidden layer is `reduction` times narrower than their BatchNorm, but has 4 channels."""

    reduction: int = Field(default=16, ge=1)


class AimOptions(StepConfig):
    """Which share of the penalized channels is to end below a threshold; every layer keeps the share `floor`."""

    share: float = Field(gt=0, lt=1)
    threshold: float = Field(default=1e-2, gt=0)
    floor: float = Field(default=0.1, ge=0, lt=1)


class SparsifyStep(TrainConfig):
    """A training with penalty `strength · Σ r(|γ_c|)`, by its subgradient or its proximal operator.

    The strength comes into force by `ramp`; with `aim` a controller finds the multiple of it that is needed. With `gfr`
    relation modules are put in before, and stay in the network. `linear: false` presses on no scales of channels that
    enter no activation behind their normalization (projections, residual trunks).
    """

    strength: float = Field(default=1e-4, gt=0)
    method: MethodName = "subgradient"
    penalty: ShapeName = "l1"
    epsilon: float = Field(default=EPSILON, gt=0)
    ramp: RampName = "constant"
    ramp_epochs: float | None = Field(default=None, gt=0)
    aim: AimOptions | None = None
    gates: tuple[str, ...] = ()
    gfr: RelationOptions | None = None
    linear: bool = True

    @model_validator(mode="after")
    def _steerable(self) -> SparsifyStep:
        if self.aim is not None and self.method != "proximal":
            raise ValueError("aim needs method: proximal; subgradient steps leave scales hovering around zero")
        if self.aim is not None and self.aim.share > 1 - self.aim.floor:
            raise ValueError(f"aim.share {self.aim.share} lies above 1 - aim.floor, what the layers can lose")
        if self.ramp == "constant" and self.ramp_epochs is not None:
            raise ValueError("ramp_epochs belongs to ramp: linear or ramp: cosine")
        return self


def run_sparsify(config: SparsifyStep, state: State, context: Context) -> Outcome:
    """Train under the penalty, and count what it pressed on."""
    graph = trace(state.model, context.example_input)
    if config.gates:
        strengths = gate_strengths(graph, config.gates, config.strength)
    else:
        inner = activated(graph)
        reached = graph if config.linear else replace(graph, groups=tuple(g for g in graph.groups if g.name in inner))
        strengths = scale_strengths(reached, state.model, config.strength)
    model, related = _with_relations(config, state.model, graph)
    penalty = _penalty(config, strengths)
    threshold = config.aim.threshold if config.aim else 0.01
    observer = ScaleObserver(penalty, threshold)
    outcome = run_train(config, replace(state, model=model), context, penalty=penalty, observer=observer)
    assert outcome.model is not None, "training gives a model"
    sizes = penalty.sizes(dict(outcome.model.named_parameters()))
    found = {
        "penalized_layers": len(strengths),
        "penalized_scales": len(sizes),
        f"scales_below_{threshold:g}": int((sizes < threshold).sum()),
        "scales": distribution({"scales": sizes.double().cpu().numpy()}),
    }
    return Outcome(model=outcome.model, details={**outcome.details, **found, **related})


def _penalty(config: SparsifyStep, strengths: Mapping[str, Tensor]) -> PacedPenalty:
    length = 0.5 if config.ramp_epochs is None else config.ramp_epochs / config.epochs
    aim, shape = config.aim, SHAPES[config.penalty](config.epsilon)
    controller = Controller(Aim(aim.share, aim.threshold, aim.floor), shape) if aim else None
    return PacedPenalty(strengths, shape, config.method, config.ramp, length, controller)


def _with_relations(config: SparsifyStep, model: nn.Module, graph: ChannelGraph) -> tuple[nn.Module, Mapping[str, Any]]:
    """The network to train; one that has relation modules already goes on with them."""
    if config.gfr is None or relations_in(model) is not None:
        return model, {}
    related = copy.deepcopy(model)
    relations, left = attach_relations_(related, graph, reduction=config.gfr.reduction, seed=config.seed)
    return related, {"gfr": {**relations.to_data(), "left": dict(left)}}
