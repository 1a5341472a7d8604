"""What training does: one frozen, validated record."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from convslim.distill.config import DistillConfig

Precision = Annotated[Literal["32", "bf16"], BeforeValidator(lambda value: "32" if value == 32 else value)]


class TrainConfig(BaseModel):
    """Every choice of `fit`.

    `batch_size` is the global batch: with several processes each one takes its share. `lr` is the peak
    learning rate; after `warmup_epochs` of linear warm-up it follows `schedule`. `clip_norm` bounds the
    Euclidean norm of all gradients. `ema_decay` keeps an exponential moving average of the weights, which is
    then what is evaluated and returned. `threads` sets PyTorch's intra-op threads while training runs (on a
    busy machine one can be faster than two: measure). `steps_per_epoch` cuts epochs short, for trials.
    Training counts as diverged when the loss stays above `divergence_factor` times that of guessing, ln(num_classes)
    for a classifier, for `divergence_patience` steps in a row. `sync_batchnorm` takes BatchNorm statistics of all
    processes' images, where there are several. `distill` names losses that draw the network to a teacher, which is
    given to `fit` as `guidance`.

    >>> TrainConfig(epochs=3, lr=0.05).schedule
    'cosine'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(ge=1)
    batch_size: int = Field(default=128, ge=1)
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(default=5e-4, ge=0)
    decay_norm_and_bias: bool = True
    schedule: Literal["cosine", "steps", "constant"] = "cosine"
    warmup_epochs: float = Field(default=0.0, ge=0)
    final_lr: float = Field(default=0.0, ge=0)
    milestones: tuple[int, ...] = ()
    step_factor: float = Field(default=0.1, gt=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    augment: bool = True
    precision: Precision = "32"
    channels_last: bool = True
    clip_norm: float | None = Field(default=None, gt=0)
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    threads: int | None = Field(default=None, ge=1)
    sync_batchnorm: bool = True
    steps_per_epoch: int | None = Field(default=None, ge=1)
    evaluate_every: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)
    divergence_factor: float = Field(default=10.0, gt=1)
    divergence_patience: int = Field(default=50, ge=1)
    distill: DistillConfig | None = None

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if self.schedule == "steps" and not self.milestones:
            raise ValueError("schedule 'steps' needs milestones: the epochs at which the learning rate drops")
        if self.schedule != "steps" and self.milestones:
            raise ValueError(f"milestones belong to schedule 'steps', not to {self.schedule!r}")
        if self.nesterov and self.optimizer == "sgd" and self.momentum == 0:
            raise ValueError("nesterov needs momentum > 0; set nesterov: false")
        if self.final_lr > self.lr:
            raise ValueError(f"final_lr {self.final_lr} lies above lr {self.lr}")
        return self
