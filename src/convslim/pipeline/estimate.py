"""What a run will take, before it: a few real training and evaluation steps are timed, and counted up."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from convslim.measure.machine import peak_memory, physical_memory
from convslim.measure.watch import Watch
from convslim.pipeline.pace import files_of, pace_of, seconds_of, trainings
from convslim.pipeline.recipe import Recipe, RecipeStep
from convslim.pipeline.run import before_step
from convslim.pipeline.state import State
from convslim.pipeline.steps.order import check_order
from convslim.train.devices import threads

SAVING: Final = ("train", "sparsify", "prune", "search", "select", "reconstruct", "recalibrate", "finetune")
"""Steps that leave a network in the run's folder."""


@dataclass(frozen=True)
class StepEstimate:
    """One step: seconds with its evaluation."""

    kind: str
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to take on this machine, as busy as it is.

    Attributes:
        steps: One by one.
        memory: Bytes that this process had at most while training and evaluation steps ran; None where the system
            does not say.
        memory_present: Bytes of the machine.
        disk: Bytes of the networks, checkpoints and exported files in the run's folder.
        disk_free: Bytes that are free there.
    """

    steps: tuple[StepEstimate, ...]
    memory: int | None
    memory_present: int | None
    disk: int
    disk_free: int

    @property
    def seconds(self) -> float:
        """Of all steps."""
        return sum(step.seconds for step in self.steps)


def estimate(recipe: Recipe, out: Path, *, watch: Watch | None = None) -> Estimate:
    """Build network and data, check the recipe against them, time a few steps, and count up.

    Everything is timed with the network before any cut; behind a cut, trainings and evaluations are shortened by the
    share of the MACs that a budget leaves. What does not shorten stands at `seconds_of`. Nothing stays written.

    Args:
        watch: Told how many kinds of steps have been timed.

    Raises:
        ConvslimError: what the run itself would meet before its first step.
    """
    with threads(recipe.threads):
        state, context = before_step(recipe, out, 1, quiet=True)
        check_order([(step.kind, step.config) for step in recipe.steps])
        pace = pace_of(recipe, state, context, watch)
    share, steps = 1.0, []
    for place, step in enumerate(recipe.steps):
        share = min(share, _left(step))
        files = len(files_of(recipe.steps[:place]))
        steps.append(StepEstimate(step.kind, seconds_of(step, pace, share, files)))
    folder = next(place for place in (out.absolute(), *out.absolute().parents) if place.exists())
    return Estimate(
        steps=tuple(steps),
        memory=peak_memory(),
        memory_present=physical_memory(),
        disk=_disk(recipe, state),
        disk_free=shutil.disk_usage(folder).free,
    )


def _left(step: RecipeStep) -> float:
    """Share of the MACs that a step's budget leaves, as far as it says."""
    budget = getattr(step.config, "budget", None)
    macs = getattr(budget, "macs", None)
    return float(macs) if isinstance(macs, float) and macs <= 1 else 1.0


def _disk(recipe: Recipe, state: State) -> int:
    """Bytes of what steps leave, and of the largest checkpoint of a training; widths of cuts are not counted off."""
    tensors = state.model.state_dict().values()
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    saved = sum(step.kind in SAVING for step in recipe.steps) + 1
    configs = [config for step in recipe.steps for config in trainings(step)]
    checkpoint = max(
        (2 + (config.optimizer != "sgd") + (config.ema_decay is not None) for config in configs), default=0
    )
    return size * (saved + checkpoint + len(files_of(recipe.steps)))
