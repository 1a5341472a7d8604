"""Step `recalibrate`: fresh BatchNorm statistics."""

from __future__ import annotations

from pydantic import Field

from convslim.pipeline.state import Context, Outcome, State, StepConfig
from convslim.train import recalibrate_
from convslim.train.devices import on_device


class RecalibrateStep(StepConfig):
    """How many training images to average over."""

    num_batches: int = Field(default=50, ge=1)
    batch_size: int = Field(default=128, ge=1)
    seed: int = Field(default=0, ge=0)


def run_recalibrate(config: RecalibrateStep, state: State, context: Context) -> Outcome:
    """Re-estimate the running mean and variance of every BatchNorm."""
    model = on_device(state.model)
    layers = recalibrate_(
        model,
        context.source.train,
        num_batches=config.num_batches,
        batch_size=config.batch_size,
        seed=config.seed,
        quiet=context.quiet or not context.primary,
    )
    return Outcome(model=model.cpu(), details={"layers": layers})
