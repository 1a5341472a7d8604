"""What steps hand to each other, and what they may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from convslim.data import DataSource
from convslim.export.metadata import FileFacts
from convslim.report import LatencyRecord, StepRecord
from convslim.surgery.plan import PruningPlan
from convslim.train import Measured


class StepConfig(BaseModel):
    """Base of the configurations of steps: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class State:
    """The network between two steps, and the plan that led to it from the original one (`None`: uncut).

    `uncut` is the network as it was before its first cut, with the weights of then; the plan leads from it too.
    """

    model: nn.Module
    plan: PruningPlan | None = None
    uncut: nn.Module | None = None


@dataclass(frozen=True)
class Context:
    """What every step of a run may use.

    Attributes:
        source: the data.
        example_input: one image, (1, C, H, W).
        original: builds the network as it was before the first step, with its weights.
        out: the run's folder.
        work: folder of this step, kept when the run is killed and the step starts again.
        finished: the records of the steps before this one.
        primary: False in all processes under `torchrun` but the first, which alone writes files.
        quiet: draw no progress bars.
    """

    source: DataSource
    example_input: Tensor
    original: Callable[[], nn.Module]
    out: Path
    work: Path
    finished: tuple[StepRecord, ...] = ()
    primary: bool = True
    quiet: bool = False

    @property
    def facts(self) -> FileFacts:
        """What the run's ONNX files say of themselves."""
        source = self.source
        return FileFacts(source.train.task, source.classes, source.mean, source.std)


@dataclass(frozen=True)
class Outcome:
    """What a step gave.

    `model` is `None` where the step leaves the network as it is; `plan` is the step's own cut of it, and `uncut` what
    was cut, where that is not the network that the step got. `metrics` are the step's own evaluation; a step that
    changes the network and gives none is evaluated by the run.
    """

    model: nn.Module | None = None
    plan: PruningPlan | None = None
    uncut: nn.Module | None = None
    metrics: Measured | None = None
    latency: tuple[LatencyRecord, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
