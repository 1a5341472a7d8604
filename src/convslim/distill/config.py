"""What guides a training, and from whom: validated data."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind = Literal["logits", "dkd", "attention", "hint", "fsp"]
_OF_LOGITS = {"temperature"}
_OF_MAPS = {"positions", "teacher_positions"}
OPTIONS: Final[dict[Kind, set[str]]] = {
    "logits": _OF_LOGITS,
    "dkd": _OF_LOGITS | {"alpha", "beta"},
    "attention": _OF_MAPS,
    "hint": _OF_MAPS,
    "fsp": _OF_MAPS,
}
"""The keys of every kind, beside `kind` and `weight`."""
WEIGHTS: Final[dict[Kind, float]] = {"logits": 1.0, "dkd": 1.0, "attention": 1000.0, "hint": 1.0, "fsp": 1.0}


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LossConfig(_Config):
    """One guidance loss; `weight` is 1 unless given, 1000 for `attention`.

    `positions` are names of modules of the student, `teacher_positions` of the teacher; without them the ends of
    the stages are compared, see `stage_ends`.

    >>> LossConfig(kind="attention").weight
    1000.0
    """

    kind: Kind
    weight: float = Field(default=1.0, gt=0)
    temperature: float = Field(default=4.0, gt=0)
    alpha: float = Field(default=1.0, ge=0)
    beta: float = Field(default=8.0, ge=0)
    positions: tuple[str, ...] = ()
    teacher_positions: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _own_weight(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("kind") in (*WEIGHTS,) and "weight" not in data:
            return {**data, "weight": WEIGHTS[data["kind"]]}
        return data

    @model_validator(mode="after")
    def _own_keys(self) -> LossConfig:
        defaults = type(self).model_fields
        strange = [
            key
            for key in sorted(self.model_fields_set - OPTIONS[self.kind] - {"kind", "weight"})
            if getattr(self, key) != defaults[key].default
        ]
        if strange:
            known = ", ".join(["weight", *sorted(OPTIONS[self.kind])])
            raise ValueError(f"{self.kind!r} has no key {strange[0]!r}; it has {known}")
        if len(self.positions) != len(self.teacher_positions) and self.teacher_positions:
            raise ValueError("positions and teacher_positions are pairs: give equally many, or positions alone")
        return self


class TeacherConfig(_Config):
    """A network that teaches: `spec` and `options` as for a recipe's `model`, and its weights.

    `weights` is a file, or the folder of an artifact; it may hold `${NAME}`, an environment variable. Without `spec`
    it is the run's own network.
    """

    spec: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    weights: str | None = None


class DistillConfig(_Config):
    """L = label_weight·CE + Σ weight·loss.

    A single loss may stand for the list: `{kind: logits, weight: 0.9}`; so may the list itself.

    >>> DistillConfig.model_validate({"kind": "logits", "weight": 0.9, "label_weight": 0.1}).losses[0].weight
    0.9
    """

    losses: tuple[LossConfig, ...] = Field(min_length=1)
    label_weight: float = Field(default=1.0, ge=0)
    teacher: TeacherConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        if isinstance(data, list | tuple):
            return {"losses": data}
        if isinstance(data, dict) and "kind" in data:
            own = {key: data[key] for key in ("label_weight", "teacher") if key in data}
            return {"losses": [{key: value for key, value in data.items() if key not in own}], **own}
        return data
