"""Pruning in several rounds: how much each of them cuts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from convslim.pipeline.state import StepConfig


class Schedule(StepConfig):
    """Rounds of cuts with training between them.

    `one-shot` cuts once. `iterative` removes equal amounts in every round. `gradual` removes most in the first rounds
    and ever less: after round r of R, c_f + (c_0 − c_f)·(1 − r/R)³ of the cost c_0 is left, c_f the budget. `tune` is
    the configuration of the `finetune` step between two cuts. `round` is set where a recipe is written out.

    References:
        Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression", 2017,
        arXiv:1710.01878, for the cubic schedule.
    """

    kind: Literal["one-shot", "iterative", "gradual"] = "gradual"
    rounds: int = Field(default=4, ge=1)
    tune: dict[str, Any] | None = None
    round: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Schedule:
        if self.round is None and self.tune is None and self.cuts > 1:
            raise ValueError("a schedule needs tune, what the training between two cuts does, such as {epochs: 2}")
        if self.round is not None and self.round > self.cuts:
            raise ValueError(f"there is no round {self.round} of {self.cuts}")
        return self

    @property
    def cuts(self) -> int:
        """How many there are."""
        return 1 if self.kind == "one-shot" else self.rounds

    def left(self, start: int, end: int) -> int:
        """Cost that may be left after this round.

        Args:
            start: Cost before the first round.
            end: Cost that the last round reaches.

        >>> [Schedule(kind="gradual", rounds=4, round=r).left(1000, 200) for r in (1, 2, 3, 4)]
        [537, 300, 212, 200]
        >>> [Schedule(kind="iterative", rounds=4, round=r).left(1000, 200) for r in (1, 2, 3, 4)]
        [800, 600, 400, 200]
        """
        done = (self.round or self.cuts) / self.cuts
        share = (1 - done) ** 3 if self.kind == "gradual" else 1 - done
        return int(end + (start - end) * share)


def written_out(kind: str, config: Any) -> list[tuple[str, Any, tuple[str | int, ...]]]:
    """A step of a recipe as the steps that it stands for: `prune` with a schedule as its rounds.

    Returns:
        Kind and configuration of every step, and the keys behind the step's own that lead to the configuration.
    """
    schedule = config.get("schedule") if kind == "prune" and isinstance(config, dict) else None
    if not isinstance(schedule, dict) or schedule.get("round") is not None:
        return [(kind, config, ())]
    try:
        cuts = Schedule.model_validate(schedule).cuts
    except ValueError:
        return [(kind, config, ())]  # the step's own check tells what is wrong, and where
    tune = schedule.get("tune")
    plain = {key: value for key, value in schedule.items() if key != "tune"}
    steps: list[tuple[str, Any, tuple[str | int, ...]]] = []
    for number in range(1, cuts + 1):
        steps.append((kind, {**config, "schedule": {**plain, "round": number}}, ()))
        if number < cuts:
            steps.append(("finetune", tune, ("schedule", "tune")))
    return steps
