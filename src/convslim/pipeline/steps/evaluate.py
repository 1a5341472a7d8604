"""Step `evaluate`: how good the network is on the test images."""

from __future__ import annotations

from pydantic import Field

from convslim.pipeline.pictures import draw_pictures
from convslim.pipeline.state import Context, Outcome, State, StepConfig
from convslim.train import Measured, Precision, evaluate
from convslim.train.devices import on_device


class EvaluateStep(StepConfig):
    """How to evaluate: float32 and all test images unless told otherwise.

    `pictures` draws a detector's boxes into so many test images, those of before the first cut beside those of now.
    `samples`: so many test images go into a classifier's record and report whose answer the compression changed.
    """

    batch_size: int = Field(default=256, ge=1)
    precision: Precision = "32"
    channels_last: bool = False
    threads: int | None = Field(default=None, ge=1)
    limit: int | None = Field(default=None, ge=1)
    pictures: int = Field(default=0, ge=0)
    samples: int = Field(default=12, ge=0, le=12)


def run_evaluate(config: EvaluateStep, state: State, context: Context) -> Outcome:
    """Measure the network on the test images: accuracy, or mean average precision."""
    details = {"pictures": draw_pictures(config.pictures, state, context)} if config.pictures else {}
    return Outcome(metrics=measure(config, state, context), details=details)


def measure(config: EvaluateStep, state: State, context: Context) -> Measured:
    """The metrics of the network on the test images."""
    return evaluate(
        on_device(state.model),
        context.source.test,
        batch_size=config.batch_size,
        precision=config.precision,
        channels_last=config.channels_last,
        threads=config.threads,
        limit=config.limit,
        quiet=context.quiet,
    )
