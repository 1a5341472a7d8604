"""Times as a function of kept channels, from tables without a clock, against networks that were really cut."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.micro.plans import random_kept
from torch import nn

import convslim
from convslim import trace
from convslim.channels.graph import ChannelGraph
from convslim.conformance.case import fresh
from convslim.conformance.cases import CASES
from convslim.measure.latency_model import LatencyModel, WholeTime
from convslim.measure.layer_shape import LayerShape
from convslim.measure.layer_times import Axis, LayerTimes, rising
from convslim.measure.timed_layer import timed_layers


def macs(shape: LayerShape) -> float:
    """A time that is known for every shape: the multiply-accumulates."""
    visited = shape.size if shape.kind == "conv_transpose" else output_size(shape)
    return float(np.prod(shape.weight_shape, dtype=float) * np.prod(visited, dtype=float) * shape.batch)


def output_size(shape: LayerShape) -> list[int]:
    numbers = zip(shape.size, shape.kernel, shape.stride, shape.padding, shape.dilation, strict=True)
    return [
        (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1 for size, kernel, stride, pad, dilation in numbers
    ]


def table(shapes: Iterable[LayerShape]) -> dict[LayerShape, float]:
    return {shape: macs(shape) for shape in shapes}


def times_of(graph: ChannelGraph) -> LayerTimes:
    sizes = np.array([group.num_channels for group in graph.groups], np.int64)
    return LayerTimes(timed_layers(graph), sizes, table)


NETS = {
    "plain": lambda: nn.Sequential(nn.Conv2d(3, 64, 3, 2, 1), nn.ReLU(), nn.Conv2d(64, 48, 1)),
    "depthwise": lambda: nn.Sequential(nn.Conv2d(3, 32, 1), nn.Conv2d(32, 32, 3, groups=32), nn.Conv2d(32, 8, 1)),
    "multiplier": lambda: nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(16, 32, 3, groups=16), nn.Conv2d(32, 8, 1)),
    "coupled": lambda: nn.Sequential(nn.Conv2d(3, 64, 1), nn.Conv2d(64, 64, 3, groups=2), nn.Conv2d(64, 8, 1)),
    "flattened": lambda: nn.Sequential(nn.Conv2d(3, 32, 1), nn.Flatten(), nn.Linear(32 * 64, 40), nn.Linear(40, 3)),
    "transposed": lambda: nn.Sequential(nn.Conv2d(3, 32, 1), nn.ConvTranspose2d(32, 48, 2, 2), nn.Conv2d(48, 3, 1)),
}
COMPUTED = {"kernel_experts", "dynamic_depthwise"}
"""Weights are computed: such layers count as if they never changed."""

EXAMPLE = torch.zeros(1, 3, 8, 8)


@pytest.mark.parametrize("name", NETS)
def test_cut_by_half_the_shapes_are_those_of_the_cut_network(name: str) -> None:
    model = NETS[name]().eval()
    graph = trace(model, EXAMPLE)
    kept = {group.name: range(group.num_channels // 2) for group in graph.prunable}
    small = convslim.remove(model, convslim.make_plan(graph, kept), EXAMPLE)
    counts = np.array([len(kept.get(group.name, range(group.num_channels))) for group in graph.groups])
    expected = [macs(layer.shape) for layer in timed_layers(trace(small, EXAMPLE))]
    found = times_of(graph).by_layer(counts)
    # Multiples of the grid are exact where time is a product of widths.
    assert found.tolist() == pytest.approx(expected, rel=0.25)
    assert times_of(graph).by_layer(times_of(graph).sizes).tolist() == [
        macs(layer.shape) for layer in timed_layers(graph)
    ]


@pytest.mark.parametrize("case", [case for case in CASES if case.name not in COMPUTED], ids=lambda case: case.name)
def test_widths_are_those_of_the_cut_network(case) -> None:
    model, example = fresh(case), case.example(1, 0)
    graph = trace(model, example, ways=("class",))
    kept = random_kept(graph, 0.5, seed=3)
    small = convslim.remove(model, convslim.make_plan(graph, kept), example)
    counts = [len(kept.get(group.name, range(group.num_channels))) for group in graph.groups]
    real = timed_layers(trace(small, example, ways=("class",)))
    before = timed_layers(graph)
    assert len(real) == len(before)
    for layer, cut in zip(before, real, strict=True):
        made = layer.made.fixed + sum(times * counts[group] for group, times in layer.made.times)
        assert made == cut.shape.out_channels
        if not layer.whole_groups:  # these are known by what they make
            read = layer.read.fixed + sum(times * counts[group] for group, times in layer.read.times)
            assert read == cut.shape.in_channels


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_more_channels_never_count_as_faster(data: st.DataObject) -> None:
    graph = trace(NETS["plain"](), EXAMPLE)
    sizes = np.array([group.num_channels for group in graph.groups], np.int64)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    noisy = LayerTimes(timed_layers(graph), sizes, lambda shapes: {shape: rng.uniform(1, 2) for shape in shapes})
    less = np.array([data.draw(st.integers(1, size)) for size in sizes])
    more = np.array([data.draw(st.integers(low, size)) for low, size in zip(less, sizes, strict=True)])
    assert noisy.total(less) <= noisy.total(more) + 1e-12


@given(st.lists(st.lists(st.floats(0, 9), min_size=3, max_size=3), min_size=1, max_size=4))
def test_rising_tables_stay_as_they_are(rows: list[list[float]]) -> None:
    found = rising(np.array(rows))
    assert (np.diff(found, axis=0) >= -1e-12).all()
    assert (np.diff(found, axis=1) >= -1e-12).all()
    assert rising(found) == pytest.approx(found)


@given(st.integers(1, 5000), st.booleans())
def test_cells_cover_every_width(full: int, varies: bool) -> None:
    axis = Axis(full, varies)
    points = axis.points()
    assert points[-1] == axis.num_cells
    assert len(points) <= 6
    assert axis.width(axis.num_cells) == full
    widths = np.arange(1, full + 1)
    places = axis.places(widths)
    assert places.min() >= 0
    assert places.max() == axis.num_cells - 1
    assert (np.diff(places) >= 0).all()


def test_a_width_takes_the_time_of_the_next_multiple_of_8() -> None:
    times = times_of(trace(NETS["plain"](), EXAMPLE))
    nine, sixteen, seventeen = (times.total(np.array([width, 48])) for width in (9, 16, 17))
    assert nine == sixteen < seventeen


def test_many_counts_at_once() -> None:
    times = times_of(trace(NETS["depthwise"](), EXAMPLE))
    counts = np.array([[8, 8], [16, 8], [32, 8]])
    assert times.total(counts).tolist() == [times.total(row) for row in counts]
    assert times.elements(counts).tolist() == [times.elements(row) for row in counts]


def test_batches_count_as_images_whatever_the_example_has() -> None:
    model = NETS["flattened"]()
    for example in (EXAMPLE, EXAMPLE.expand(3, -1, -1, -1)):
        first, second, _ = timed_layers(trace(model, example), batch=6)
        assert first.shape.input_shape == (6, 3, 8, 8)
        assert second.shape.input_shape == (6, 32 * 64)


def test_calibrated_on_the_whole() -> None:
    times = times_of(trace(NETS["plain"](), EXAMPLE))
    model = LatencyModel.calibrated(times, WholeTime(4.0, 0.75))
    assert model.evaluate(times.sizes) == pytest.approx(4.0)
    assert model.scale * times.total(times.sizes) == pytest.approx(3.0)
    half = np.array([32, 48])
    elements = (32 + 48) / (64 + 48)
    assert model.evaluate(half) == pytest.approx(3.0 * times.total(half) / times.total(times.sizes) + elements)
    assert model.corrected(1.5).evaluate(half) == pytest.approx(1.5 * model.evaluate(half))
    assert model.flat_layers() == ()


def test_layers_that_take_their_time_anyway_are_named() -> None:
    graph = trace(NETS["plain"](), EXAMPLE)
    sizes = np.array([group.num_channels for group in graph.groups], np.int64)
    times = LayerTimes(
        timed_layers(graph), sizes, lambda shapes: {s: 1.0 if s.kernel == (1, 1) else macs(s) for s in shapes}
    )
    assert LatencyModel.calibrated(times, WholeTime(1.0, 1.0)).flat_layers() == ("2",)


def test_a_network_without_layers_to_time() -> None:
    times = times_of(trace(nn.Sequential(nn.ReLU()), EXAMPLE))
    assert LatencyModel.calibrated(times, WholeTime(2.0, 0.0)).evaluate(times.sizes) <= 2.0
