"""Budgets of recipes."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from convslim.export.arithmetic import Mode
from convslim.pipeline.state import StepConfig


class Budget(StepConfig):
    """What may remain: a fraction of the network before this step or schedule (float), or an absolute number (int)."""

    macs: int | float | None = None
    params: int | float | None = None

    @field_validator("macs", "params")
    @classmethod
    def _in_range(cls, value: int | float | None) -> int | float | None:
        if value is None or (isinstance(value, int) and value > 1) or 0 < value <= 1:
            return value
        raise ValueError("a budget is a fraction above 0 and up to 1, or an absolute whole number above 1")

    @model_validator(mode="after")
    def _not_empty(self) -> Budget:
        if not self.limits():
            known = ", ".join(type(self).model_fields)
            raise ValueError(f"a budget needs one or more of {known}, for example {{macs: 0.5}}")
        return self

    def limits(self) -> dict[str, int | float]:
        """The budget as `allocate` takes it; 1 is read as the fraction 1.0."""
        return {name: 1.0 if value == 1 else value for name, value in self.model_dump().items() if value is not None}


class TimedBudget(Budget):
    """A budget that can also be of latency: a fraction of the network's before this step, or milliseconds."""

    latency: float | None = Field(default=None, gt=0, le=1)
    ms: float | None = Field(default=None, gt=0)


class TimingConfig(StepConfig):
    """How latency is measured, in ONNX Runtime, where a budget is of it: of a float32 file, or of an int8 file."""

    threads: int = Field(default=1, ge=1)
    batch: int = Field(default=1, ge=1)
    arithmetic: Mode = "float32"
