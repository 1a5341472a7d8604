"""`TrainConfig`: what it refuses."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from convslim.train import TrainConfig


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"epochs": 1, "lr": -1}, "greater than 0"),
        ({"epochs": 1, "schedule": "steps"}, "needs milestones"),
        ({"epochs": 1, "milestones": [3]}, "milestones belong to"),
        ({"epochs": 1, "momentum": 0}, "nesterov needs momentum"),
        ({"epochs": 1, "final_lr": 1.0}, "lies above lr"),
        ({"epochs": 1, "precision": "fp8"}, "'32' or 'bf16'"),
        ({"epochs": 1, "epoch": 2}, "Extra inputs"),
    ],
)
def test_wrong_fields_are_refused(fields: dict[str, object], rule: str):
    with pytest.raises(ValidationError, match=rule):
        TrainConfig.model_validate(fields)


def test_precision_may_be_written_as_a_number():
    assert TrainConfig.model_validate({"epochs": 1, "precision": 32}).precision == "32"


def test_configuration_survives_json():
    config = TrainConfig(epochs=3, schedule="steps", milestones=(1, 2), clip_norm=0.5)
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config
