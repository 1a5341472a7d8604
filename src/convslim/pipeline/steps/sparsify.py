"""Step `sparsify`: training with an L1 penalty on the BatchNorm scales of prunable channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field
from torch import Tensor

from convslim.channels.trace import trace
from convslim.pipeline.state import Context, Outcome, State
from convslim.pipeline.steps.train import run_train
from convslim.sparsity import Penalty, Proximal, Subgradient, scale_strengths
from convslim.train import TrainConfig

PENALTIES: dict[str, Callable[[dict[str, Tensor]], Penalty]] = {"subgradient": Subgradient, "proximal": Proximal}


class SparsifyStep(TrainConfig):
    """A training with penalty `strength · Σ|γ_c|`, by its subgradient or its proximal operator."""

    strength: float = Field(default=1e-4, gt=0)
    method: Literal["subgradient", "proximal"] = "subgradient"


def run_sparsify(config: SparsifyStep, state: State, context: Context) -> Outcome:
    """Train under the penalty, and count what it pressed on."""
    graph = trace(state.model, context.example_input)
    strengths = scale_strengths(graph, state.model, config.strength)
    outcome = run_train(config, state, context, penalty=PENALTIES[config.method](strengths))
    assert outcome.model is not None, "training gives a model"
    scales = dict(outcome.model.named_parameters())
    small = sum(
        int(((scales[name].abs() < 0.01) & (strength > 0).to(scales[name].device)).sum())
        for name, strength in strengths.items()
    )
    found = {
        "penalized_layers": len(strengths),
        "penalized_scales": sum(int((strength > 0).sum()) for strength in strengths.values()),
        "scales_below_0.01": small,
    }
    return Outcome(model=outcome.model, details={**outcome.details, **found})
