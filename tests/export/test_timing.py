"""One real measurement for a budget of latency, small, and on a cache of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import convslim
from convslim import trace
from convslim.allocate import solve
from convslim.export.timing import WholeNetwork


def test_a_small_network_is_measured_and_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 4, 3))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    example = torch.randn(1, 3, 16, 16)
    graph = trace(model, example)
    totals: list[int] = []

    def start(total: int):
        totals.append(total)
        return lambda: None

    timing = convslim.timing(graph, model, example, batch=2, on_start=start)
    assert totals
    assert timing.original_ms > 0
    assert timing.model.evaluate(timing.model.layers.sizes) == pytest.approx(timing.original_ms)
    assert timing.setting.endswith("float32, 1 thread, batch 2")
    convslim.timing(graph, model, example, batch=2, on_start=start)
    assert len(totals) == 1  # the second time everything is in the cache
    found = solve(graph, convslim.score(graph, model, "l1"), {"latency": 1.0, "macs": 0.6}, latency=timing)
    assert found.latency is not None
    assert found.latency.measured is not None
    assert found.macs <= 0.6 * found.original_macs
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_layers_take_most_of_a_network_of_layers() -> None:
    model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3))
    assert 0.5 < WholeNetwork(model, torch.zeros(1, 3, 24, 24)).unpruned().layer_share <= 1
