"""Step `select`: the network selects its channels while it trains under a teacher's guidance."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from pydantic import Field, model_validator
from torch import nn

from convslim.distill import DistillConfig, Guidance, LossConfig
from convslim.distill.guidance import OF_MAPS
from convslim.pipeline.state import Context, Outcome, State
from convslim.pipeline.steps.budget import Budget
from convslim.pipeline.teacher import guidance
from convslim.train import TrainConfig
from convslim.train.select_rule import Init, SelectRule
from convslim.train.selection import select

GUIDED = DistillConfig(losses=(LossConfig(kind="logits", weight=0.9), LossConfig(kind="attention")))


class SelectStep(TrainConfig):
    """A training whose channels have coefficients, see `SelectRule`; the teacher guides by logits and attention."""

    distill: DistillConfig | None = GUIDED
    budget: Budget | None = None
    strength: float | None = Field(default=None, gt=0)
    init: Init = "ones"
    mask_lr: float = Field(default=0.1, gt=0)
    mask_momentum: float = Field(default=0.0, ge=0, le=1)
    stable_epochs: int = Field(default=5, ge=1)
    select_epochs: int | None = Field(default=None, ge=1)
    rounds: int = Field(default=3, ge=1)
    round_to: int = Field(default=8, ge=1)
    min_channels: int = Field(default=1, ge=1)
    min_ratio: float = Field(default=0.1, ge=0, le=1)
    keep: tuple[str, ...] = ()
    ways: tuple[Literal["class", "graph"], ...] = Field(default=("class",), min_length=1)
    approximate: bool = True

    @model_validator(mode="after")
    def _possible(self) -> SelectStep:
        if self.budget is None and self.strength is None:
            raise ValueError("self-selection needs a budget, such as {macs: 0.5}, or a strength, such as 0.01")
        losses = self.distill.losses if self.distill else ()
        if "graph" in self.ways and any(loss.kind in OF_MAPS for loss in losses):
            raise ValueError(
                "a network that was cut as a graph has no feature maps to compare; write ways: [class], or distill by "
                "logits and dkd alone"
            )
        if self.ema_decay is not None:
            raise ValueError("averaged coefficients are never zero; set ema_decay in a finetune step behind")
        return self

    def rule(self) -> SelectRule:
        """What `select` needs beside the training."""
        return SelectRule(
            budget=self.budget.limits() if self.budget else None,
            strength=self.strength,
            init=self.init,
            mask_lr=self.mask_lr,
            mask_momentum=self.mask_momentum,
            stable_epochs=self.stable_epochs,
            select_epochs=self.select_epochs,
            rounds=self.rounds,
            round_to=self.round_to,
            min_channels=self.min_channels,
            min_ratio=self.min_ratio,
            keep=self.keep,
        )


def run_select(config: SelectStep, state: State, context: Context) -> Outcome:
    """Select, cut and train on; goes on after the last finished epoch where the step had been interrupted."""

    def guide(student: nn.Module, prefix: str) -> Guidance | None:
        return guidance(config, student, state, context, prefix=prefix)

    cut_in_class = state.plan is not None and state.plan.way == "class"
    selected = select(
        state.model,
        context.source,
        config,
        config.rule(),
        guide,
        out=context.work,
        ways=("class",) if cut_in_class else config.ways,
        approximate=config.approximate,
        quiet=context.quiet,
    )
    details = {"rounds": list(selected.rounds), "epochs": [asdict(metrics) for metrics in selected.history]}
    return Outcome(model=selected.model, plan=selected.plan, details=details)
