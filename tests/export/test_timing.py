"""One real measurement for a budget of latency, small, and on a cache of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import convslim
from convslim import trace
from convslim.allocate import solve
from convslim.errors import BudgetError
from convslim.export.arithmetic import export_timed_int8, integer_layer
from convslim.export.check import check_kernels
from convslim.export.timing import WholeNetwork
from convslim.measure.layer_shape import LayerShape
from convslim.measure.one_int8_layer import int8_layer
from convslim.measure.one_layer import float_layer


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


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_a_network_is_timed_in_the_integers_of_its_file(own_cache: None, tmp_path: Path) -> None:
    """Convolutions in integers, the transposed one in float, as in the file that is written in the end."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU()),
        *(nn.ConvTranspose2d(32, 16, 2, 2), nn.ReLU(), nn.Conv2d(16, 4, 1)),
    )
    example = torch.zeros(1, 3, 16, 16)
    export_timed_int8(model, example, tmp_path / "timed.onnx")
    kernels = check_kernels(tmp_path / "timed.onnx")
    assert (kernels.integer, len(kernels.real)) == (("0", "3", "7"), 1)
    assert model.training
    graph = trace(model, example)
    timing = convslim.timing(graph, model, example, arithmetic="int8")
    assert timing.setting.endswith("int8, 1 thread, batch 1")
    found = solve(graph, convslim.score(graph, model, "l1"), {"latency": 1.0, "macs": 0.6}, latency=timing)
    assert found.latency is not None
    assert found.latency.measured is not None
    caches = list((tmp_path / "convslim").glob("layers-*.jsonl"))
    modes = {json.loads(line)["machine"]["mode"] for cache in caches for line in cache.read_text().splitlines()}
    assert modes == {"int8"}


def test_layers_in_integers_are_those_of_the_file() -> None:
    plain = LayerShape("conv", 1, 16, 16, 1, (8, 8), (3, 3), (1, 1), (1, 1), (1, 1), (0, 0))
    transposed = replace(plain, kind="conv_transpose")
    assert integer_layer(plain) == int8_layer(plain)
    assert integer_layer(transposed) == float_layer(transposed)


def test_an_unknown_arithmetic_is_named() -> None:
    model, example = nn.Sequential(nn.Conv2d(3, 8, 3)), torch.zeros(1, 3, 8, 8)
    with pytest.raises(BudgetError, match=r"no arithmetic 'int4'; known are float32, int8"):
        convslim.timing(trace(model, example), model, example, arithmetic="int4")  # type: ignore[arg-type]


def test_layers_take_most_of_a_network_of_layers() -> None:
    model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3))
    assert 0.5 < WholeNetwork(model, torch.zeros(1, 3, 24, 24)).unpruned().layer_share <= 1
