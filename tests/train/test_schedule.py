"""The learning rate against its formulas."""

from __future__ import annotations

import math

import pytest

from convslim.train.config import TrainConfig
from convslim.train.schedule import learning_rate


def test_cosine_falls_from_peak_to_final():
    config = TrainConfig(epochs=10, lr=0.2, final_lr=0.02)
    for epoch in (0.0, 2.5, 5.0, 9.9, 10.0):
        expected = 0.02 + 0.09 * (1 + math.cos(math.pi * epoch / 10))
        assert learning_rate(config, epoch) == pytest.approx(expected)


def test_steps_drop_at_milestones():
    config = TrainConfig(epochs=9, lr=1.0, schedule="steps", milestones=(3, 6), step_factor=0.5)
    assert [learning_rate(config, epoch) for epoch in (0, 2.99, 3, 5.9, 6, 8)] == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_warm_up_rises_to_the_peak_and_never_is_zero():
    config = TrainConfig(epochs=9, lr=1.0, schedule="constant", warmup_epochs=2)
    rates = [learning_rate(config, epoch / 10) for epoch in range(31)]
    assert rates[0] > 0
    assert rates == sorted(rates)
    assert rates[20:] == [1.0] * 11
