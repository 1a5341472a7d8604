"""Steps `train` and `finetune`: the same loop, at different moments of a recipe."""

from __future__ import annotations

from dataclasses import asdict

from convslim.pipeline.state import Context, Outcome, State
from convslim.pipeline.teacher import guidance
from convslim.sparsity import Penalty
from convslim.train import TrainConfig, fit
from convslim.train.observer import Observer


def run_train(
    config: TrainConfig,
    state: State,
    context: Context,
    *,
    penalty: Penalty | None = None,
    observer: Observer | None = None,
) -> Outcome:
    """Train the network; goes on after the last finished epoch where the step had been interrupted."""
    result = fit(
        state.model,
        context.source,
        config,
        out=context.work,
        resume=True,
        penalty=penalty,
        observer=observer,
        guidance=guidance(config, state.model, state, context),
        quiet=context.quiet,
    )
    return Outcome(model=result.model, details={"epochs": [asdict(metrics) for metrics in result.history]})
