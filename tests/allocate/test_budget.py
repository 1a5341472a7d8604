"""Budgets: fractions, absolute numbers, and everything that is neither."""

import numpy as np
import pytest
import torch
from torch import nn

from convslim import CostModel, trace
from convslim.allocate.budget import NO_LIMIT, asks_for_latency, limits
from convslim.allocate.costs import Costs
from convslim.errors import BudgetError

NET = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.ReLU(), nn.Conv2d(8, 2, 1, bias=False))
MODEL = Costs(CostModel(trace(NET, torch.zeros(1, 3, 5, 5))))  # 1,000 MACs, 40 parameters


def test_fractions_and_numbers() -> None:
    assert limits({"macs": 0.5}, MODEL).tolist() == [500, NO_LIMIT]
    assert limits({"params": 1.0, "macs": 999}, MODEL).tolist() == [999, 40]
    assert limits({"params": int(np.int64(7)), "macs": np.float64(0.25)}, MODEL).tolist() == [250, 7]
    assert limits({"params": 0.001}, MODEL).tolist() == [NO_LIMIT, 1]


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"mac": 0.5}, r"no budget 'mac'; known are macs, params, latency, ms\. Did you mean 'macs'\?"),
        ({"macs": 0.0}, r"macs=0.0 is a float, a fraction of the original 1,000, and must be in \(0, 1\]"),
        ({"macs": -0.5}, r"must be in \(0, 1\]"),
        ({"macs": 600.0}, "for an absolute number write an int"),
        ({"macs": 1}, r"macs=1 is an int, an absolute number, and must be above 1; .* such as macs=0.5"),
        ({"macs": 0}, "must be above 1"),
        ({"params": True}, "params=True is a bool"),
        ({"params": "0.5"}, "params='0.5' is a str"),
        ({"params": float("nan")}, r"must be in \(0, 1\]"),
    ],
)
def test_malformed_budgets(budget: dict[str, float], message: str) -> None:
    with pytest.raises(BudgetError, match=message):
        limits(budget, MODEL)


def test_only_latency_needs_measuring() -> None:
    assert not asks_for_latency({"macs": 0.5, "params": 7})
    assert asks_for_latency({"macs": 0.5, "latency": 0.5})
    assert asks_for_latency({"ms": 3})
