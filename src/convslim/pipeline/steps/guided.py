"""Guidance that does not fit the data, found before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import BaseModel

from convslim.data.source import TaskName
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
        for key, loss in _losses(config):
            if loss not in OF_MAPS:
                raise RecipeError(
                    f"Step {number} ({kind}): Distillation by {loss} compares class scores, and the images have boxes. "
                    f"Write one of {', '.join(sorted(OF_MAPS))}, such as distill: {{kind: attention}}; on the command "
                    f"line --set 'steps.{kind}.{key}={{kind: attention}}'."
                )


def _losses(config: BaseModel) -> Iterator[tuple[str, str]]:
    """Kinds of the losses that guide a step, each with the key of the step that has it."""
    key, training = "distill", config
    if isinstance(config, QuantizeStep):
        key, training = "train.distill", config.train or config
    if isinstance(training, TrainConfig) and training.distill is not None:
        yield from ((key, loss.kind) for loss in training.distill.losses)
