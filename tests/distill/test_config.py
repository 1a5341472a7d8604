"""Configurations of distillation: short forms, defaults, and keys that do not belong."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from convslim.distill import DistillConfig


def test_one_loss_may_stand_alone():
    config = DistillConfig.model_validate({"kind": "logits", "temperature": 2, "weight": 0.9, "label_weight": 0.1})
    assert config.losses[0].temperature == 2
    assert (config.losses[0].weight, config.label_weight) == (0.9, 0.1)


def test_a_list_may_stand_alone():
    config = DistillConfig.model_validate([{"kind": "attention"}, {"kind": "dkd", "beta": 2}])
    assert [(loss.kind, loss.weight) for loss in config.losses] == [("attention", 1000.0), ("dkd", 1.0)]


@pytest.mark.parametrize("data", [{"kind": "hint"}, [{"kind": "attention"}, {"kind": "fsp"}]])
def test_what_is_written_down_reads_back(data: object):
    config = DistillConfig.model_validate(data)
    assert DistillConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "attention", "temperature": 2}, "'attention' has no key 'temperature'; it has weight, positions"),
        ({"kind": "hint", "teacher_positions": ["a", "b"]}, "equally many"),
        ({"kind": "nonsense"}, "'logits', 'dkd', 'attention', 'hint' or 'fsp'"),
        ({"kind": ["attention"]}, "'logits', 'dkd', 'attention', 'hint' or 'fsp'"),
        ({"losses": []}, "at least 1"),
        ({"kind": "logits", "wieght": 1}, "wieght"),
    ],
)
def test_what_is_wrong_is_named(data: object, message: str):
    with pytest.raises(ValidationError, match=message):
        DistillConfig.model_validate(data)
