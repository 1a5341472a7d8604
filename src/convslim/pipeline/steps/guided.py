"""Guidance that does not fit the data, found before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import BaseModel

from convslim.data.source import TaskName
from convslim.distill import LossConfig
from convslim.distill.guidance import OF_MAPS
from convslim.errors import RecipeError
from convslim.pipeline.steps.quantize import QuantizeStep
from convslim.train import TrainConfig


def check_guidance(steps: Sequence[tuple[str, BaseModel]], task: TaskName) -> None:
    """See that a detector is not guided by class scores, which it has none of.

    Args:
        steps: Kind and configuration of every step.
        task: Of the images.

    Raises:
        RecipeError: It is.
    """
    if task == "classification":
        return
    for number, (kind, config) in enumerate(steps, start=1):
        for loss in [loss.kind for training in _trainings(config) for loss in _losses(training)]:
            if loss not in OF_MAPS:
                raise RecipeError(
                    f"Step {number} ({kind}): Distillation by {loss} compares class scores, and the images have boxes. "
                    f"Write one of {', '.join(sorted(OF_MAPS))}, such as distill: {{kind: attention}}; on the command "
                    f"line --set 'steps.{kind}.distill={{kind: attention}}'."
                )


def _trainings(config: BaseModel) -> Iterator[TrainConfig]:
    if isinstance(config, TrainConfig):
        yield config
    elif isinstance(config, QuantizeStep) and config.train is not None:
        yield config.train


def _losses(config: TrainConfig) -> Sequence[LossConfig]:
    return () if config.distill is None else config.distill.losses
