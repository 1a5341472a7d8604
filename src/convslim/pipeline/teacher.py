"""The teacher of a step: the network before its first cut, or another one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from convslim import models
from convslim.distill import Guidance, TeacherConfig, guide
from convslim.pipeline.environment import expand
from convslim.pipeline.state import Context, State
from convslim.surgery import load, load_weights
from convslim.train import TrainConfig
from convslim.train.devices import kept_random_state


def teacher(config: TeacherConfig | None, state: State, context: Context) -> nn.Module:
    """The network that teaches.

    Without a configuration it is the network as it was before its first cut, with the weights of then; where nothing
    was cut yet, the network as the step finds it.

    Raises:
        RecipeError: `weights` needs an environment variable that is not set.
        ModelError: There is no such network, or the weights are another's.
        ArtifactError: The weights cannot be read.
    """
    if config is None:
        return state.uncut if state.uncut is not None else state.model
    if config.weights is None:
        return _network(config, context)()
    path = Path(expand(config.weights, "distill.teacher.weights"))
    if path.is_dir():
        return load(path, _network(config, context))
    model = _network(config, context)()
    load_weights(model, path)
    return model


def _network(config: TeacherConfig, context: Context) -> Callable[[], nn.Module]:
    spec = config.spec
    if spec is None:
        return context.original

    def create() -> nn.Module:
        with kept_random_state():
            torch.manual_seed(0)
            return models.create(spec, **config.options)

    return create


def guidance(
    config: TrainConfig, student: nn.Module, state: State, context: Context, *, prefix: str = ""
) -> Guidance | None:
    """What draws a student to the teacher of a step; None where its configuration does not distill."""
    if config.distill is None:
        return None
    taught = teacher(config.distill.teacher, state, context)
    return guide(student, taught, context.example_input, config.distill, prefix=prefix)
