"""Budgets of latency on tables without a clock: kept where they can be, told of where they cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import convslim
from convslim import ChannelGraph, allocate, score, trace
from convslim.allocate import BudgetWarning, Measured, Timing, solve
from convslim.allocate.promise import MAX_CORRECTIONS, TOLERANCE
from convslim.allocate.widths import Rounding, allowed_counts
from convslim.criteria import Scores
from convslim.errors import BudgetError
from convslim.measure.latency_model import LatencyModel, WholeTime
from convslim.measure.layer_shape import LayerShape
from convslim.measure.layer_times import LayerTimes
from convslim.measure.timed_layer import timed_layers
from convslim.surgery.plan import PruningPlan

EXAMPLE = torch.zeros(1, 3, 32, 32)
ORIGINAL_MS = 10.0


@cache
def task(name: str = "resnet20_cifar_b") -> tuple[ChannelGraph, Scores]:
    torch.manual_seed(0)
    network = convslim.models.create(name)
    graph = trace(network, EXAMPLE)
    return graph, score(graph, network, "l1")


def layer_time(shape: LayerShape, launch: float = 0.0) -> float:
    """Blocks of 8 channels, as a processor with wide registers works on them, and a start that costs."""
    blocks = -(-shape.out_channels // 8) * -(-shape.in_channels // shape.groups // 8)
    return launch + blocks * float(np.prod(shape.size or (1,))) * float(np.prod(shape.kernel or (1,))) / 1e4


def model_of(graph: ChannelGraph, time: Callable[[LayerShape], float] = layer_time) -> LatencyModel:
    sizes = np.array([group.num_channels for group in graph.groups], np.int64)

    def times(shapes: Iterable[LayerShape]) -> dict[LayerShape, float]:
        return {shape: time(shape) for shape in shapes}

    return LatencyModel.calibrated(LayerTimes(timed_layers(graph), sizes, times), WholeTime(ORIGINAL_MS, 0.9))


def counts(graph: ChannelGraph, plan: PruningPlan) -> np.ndarray:
    return np.array([len(plan.kept[group.name]) for group in graph.groups])


class Machine:
    """A machine on which networks take what the model says, bent; counts what it is asked."""

    def __init__(self, graph: ChannelGraph, bend: Callable[[float], float], drift: float = 1.0) -> None:
        self.graph, self.bend, self.drift = graph, bend, drift
        self.model = model_of(graph)
        self.plans: list[PruningPlan] = []

    def __call__(self, plan: PruningPlan) -> Measured:
        self.plans.append(plan)
        share = float(self.model.evaluate(counts(self.graph, plan))) / ORIGINAL_MS
        return Measured(self.drift * ORIGINAL_MS * self.bend(share), self.drift * ORIGINAL_MS)

    def timing(self) -> Timing:
        return Timing(self.model, ORIGINAL_MS, self, "a machine of paper")


@pytest.mark.parametrize("how", ["global", "uniform", "reconstruction"])
@pytest.mark.parametrize("fraction", [0.5, 0.75])
def test_a_true_model_needs_one_measurement(how, fraction: float) -> None:
    graph, scores = task()
    machine = Machine(graph, lambda share: share)
    found = solve(graph, scores, {"latency": fraction}, how=how, latency=machine.timing())
    assert found.latency is not None
    assert len(machine.plans) == 1
    assert found.latency.num_corrections == 0
    assert found.latency.kept
    assert 1 - TOLERANCE <= found.latency.reached <= 1  # type: ignore[operator]
    assert found.latency.asked_ms == fraction * ORIGINAL_MS
    assert found.latency.predicted_ms == pytest.approx(model_of(graph).evaluate(counts(graph, found.plan)), abs=1e-6)
    assert found.limits == {}


@pytest.mark.parametrize("bend", [1.25, 1.12, 0.9, 0.8], ids=str)
@pytest.mark.parametrize("budget", [{"latency": 0.6}, {"ms": 6.0}, {"ms": 6.0, "latency": 0.9}], ids=str)
def test_a_model_that_is_off_is_corrected(bend: float, budget: dict[str, float]) -> None:
    graph, scores = task()
    machine = Machine(graph, lambda share: bend * share)
    found = solve(graph, scores, budget, latency=machine.timing())
    promise = found.latency
    assert promise is not None
    assert promise.measured is not None
    assert 0.95 <= promise.measured.ms / 6 <= 1.05
    assert 1 <= promise.num_corrections <= MAX_CORRECTIONS
    assert promise.first_measured is not None
    assert promise.first_measured.ms == pytest.approx(bend * promise.first_predicted_ms, rel=1e-6)
    assert machine.plans[-1] == found.plan
    assert not found.notes


def test_a_fraction_is_of_the_same_run_and_milliseconds_are_absolute() -> None:
    graph, scores = task()
    slower = Machine(graph, lambda share: share, drift=1.3)  # the whole machine got slower since
    assert solve(graph, scores, {"latency": 0.6}, latency=slower.timing()).latency.num_corrections == 0  # type: ignore[union-attr]
    found = solve(graph, scores, {"ms": 6.0}, latency=slower.timing()).latency
    assert found is not None
    assert found.num_corrections > 0
    assert found.measured is not None
    assert found.measured.ms <= 6.0 * (1 + TOLERANCE)


def test_all_budgets_hold_together() -> None:
    graph, scores = task()
    for budget in (
        {"latency": 0.7, "macs": 0.4},
        {"latency": 0.5, "macs": 0.9, "params": 0.8},
        {"ms": 7.0, "params": 0.3},
    ):
        machine = Machine(graph, lambda share: share)
        found = solve(graph, scores, budget, latency=machine.timing())
        assert found.latency is not None
        assert found.latency.kept
        assert len(machine.plans) == 1  # that latency is below its limit where another budget binds needs no correction
        for metric in ("macs", "params"):
            if metric in budget:
                assert getattr(found, metric) <= budget[metric] * getattr(found, f"original_{metric}")


def test_without_a_budget_of_latency_nothing_is_measured() -> None:
    graph, scores = task()
    machine = Machine(graph, lambda share: share)
    found = solve(graph, scores, {"macs": 0.5}, latency=machine.timing())
    assert found.latency is None
    assert not machine.plans
    assert found.plan == solve(graph, scores, {"macs": 0.5}).plan


def test_a_promise_that_is_not_kept_is_told_of() -> None:
    graph, scores = task()
    machine = Machine(graph, lambda share: 0.5 + share / 2)  # half of the time does not depend on widths
    with pytest.warns(BudgetWarning, match=r"was to be 6 ms and was measured as .* above it \(unpruned, .* 10 ms\)"):
        allocate(graph, scores, {"latency": 0.6}, latency=machine.timing())
    assert len(machine.plans) <= 1 + MAX_CORRECTIONS


def test_the_model_is_believed_where_nothing_measures() -> None:
    graph, scores = task()
    found = solve(graph, scores, {"latency": 0.6}, latency=Timing(model_of(graph), ORIGINAL_MS)).latency
    assert found is not None
    assert (found.measured, found.kept, found.num_corrections) == (None, None, 0)
    assert 5.9 <= found.predicted_ms <= 6.0


def test_layers_that_do_not_get_faster_are_told_of_beforehand() -> None:
    graph, scores = task()
    model = model_of(graph, lambda shape: layer_time(shape, launch=20.0))
    with pytest.raises(
        BudgetError, match=r"latency=6 ms cannot be reached: .* [89]\.\d+ ms remain, .*of the original 10 ms"
    ):
        solve(graph, scores, {"latency": 0.6}, latency=Timing(model, ORIGINAL_MS))
    with pytest.warns(BudgetWarning, match=r"20 of 22 layers \(conv1, .*\) take 80% of the latency"):
        allocate(graph, scores, {"latency": 0.96}, latency=Timing(model, ORIGINAL_MS))


def test_widths_that_a_runtime_dislikes_are_told_of() -> None:
    graph, scores = task()
    found = solve(graph, scores, {"latency": 0.6}, round_to=1, latency=Timing(model_of(graph), ORIGINAL_MS))
    assert any("round_to=1 allows widths that are no multiples of 8" in note for note in found.notes)
    assert all(
        len(kept) % 8 == 0
        for kept in solve(
            graph, scores, {"latency": 0.6}, latency=Timing(model_of(graph), ORIGINAL_MS)
        ).plan.kept.values()
        if len(kept) != 10
    )


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"latency": 0.5}, r"needs measured times: give latency=convslim\.timing\(graph, model, example_input\)"),
        ({"ms": 3}, "needs measured times"),
        ({"latncy": 0.5}, "Did you mean 'latency'"),
    ],
)
def test_times_are_needed(budget: dict[str, float], message: str) -> None:
    graph, scores = task()
    with pytest.raises(BudgetError, match=message):
        solve(graph, scores, budget)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"latency": 2.0}, r"is a fraction of the unpruned network's 10 ms .* for milliseconds write ms=2\.0"),
        ({"latency": 0.0}, r"must be in \(0, 1\]"),
        ({"ms": -1}, "milliseconds above 0"),
        ({"ms": float("nan")}, "milliseconds above 0"),
        ({"ms": "3"}, "is a str"),
        ({"latency": True}, "is a bool"),
        ({"ms": 0.001}, r"latency=0\.001 ms cannot be reached"),
    ],
)
def test_malformed_budgets(budget: dict[str, float], message: str) -> None:
    graph, scores = task()
    with pytest.raises(BudgetError, match=message):
        solve(graph, scores, budget, latency=Timing(model_of(graph), ORIGINAL_MS))


def wider_counts(graph: ChannelGraph, kept: np.ndarray) -> list[tuple[int, int]]:
    """Every group with every allowed width above its own."""
    return [
        (place, int(width))
        for place, group in enumerate(graph.groups)
        if group.prunable
        for width in allowed_counts(group, Rounding())
        if width > kept[place]
    ]


def macs_of(graph: ChannelGraph, kept: np.ndarray) -> float:
    return float(convslim.CostModel(graph).evaluate(kept)[0] / convslim.CostModel(graph).macs())


def test_a_width_that_is_slower_than_a_wider_one_is_not_taken() -> None:
    """As integer kernels are: 8 output channels take longer than 16."""
    network = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Conv2d(32, 5, 1))
    graph = trace(network, torch.zeros(1, 3, 16, 16))
    model = model_of(graph, lambda shape: layer_time(shape, 1.0) + (5.0 if shape.out_channels % 16 == 8 else 0))
    found = solve(graph, score(graph, network, "l1"), {"latency": 0.8}, latency=Timing(model, ORIGINAL_MS))
    widths = {len(found.plan.kept[group.name]) for group in graph.prunable}
    assert widths <= {16, 32}
    assert 16 in widths
    assert any("layers take as long with 8 channels as with 16" in note for note in found.notes)
    whole_blocks = solve(
        graph, score(graph, network, "l1"), {"latency": 0.8}, round_to=16, latency=Timing(model, ORIGINAL_MS)
    )
    assert not any("8 channels" in note for note in whole_blocks.notes)
    tight = {"latency": 0.8, "macs": found.macs - 1}
    narrower = solve(graph, score(graph, network, "l1"), tight, latency=Timing(model, ORIGINAL_MS))
    assert narrower.macs < found.macs  # the other budget holds, whatever that costs in time


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 12), st.sampled_from([1, 3])), min_size=2, max_size=4),
    st.floats(0.2, 1.0),
    st.floats(0.2, 1.0),
    st.integers(0, 2**32),
    st.sampled_from(["global", "uniform", "reconstruction"]),
)
def test_budgets_of_latency_on_random_tables(widths, fraction: float, macs: float, seed: int, how) -> None:
    """Within the budget by the model's own times, whatever the table says; or out of reach at the smallest widths."""
    layers: list[nn.Module] = []
    channels = 3
    for width, kernel in widths:
        layers.append(nn.Conv2d(channels, 8 * width, kernel, padding=kernel // 2))
        channels = 8 * width
    network = nn.Sequential(*layers, nn.Conv2d(channels, 5, 1))
    graph = trace(network, torch.zeros(1, 3, 6, 6))
    rng = np.random.default_rng(seed)
    model = model_of(graph, lambda shape: layer_time(shape, 1.0) * rng.uniform(0.5, 2))
    scores = score(graph, network, "l1")
    budget = {"latency": fraction, "macs": macs}
    try:
        found = solve(graph, scores, budget, how=how, latency=Timing(model, ORIGINAL_MS))
    except BudgetError as error:
        message = str(error)
        least = np.array(
            [allowed_counts(group, Rounding())[0 if group.prunable else -1] for group in graph.groups], np.int64
        )
        small = convslim.CostModel(graph).evaluate(least)[0] / convslim.CostModel(graph).macs()
        assert model.evaluate(least) > fraction * ORIGINAL_MS - 1e-5 or small > macs - 1e-9
        assert "cannot be reached" in message
        return
    kept = counts(graph, found.plan)
    expected = float(model.expected(kept))
    assert found.latency is None or found.latency.predicted_ms == pytest.approx(expected)
    wider = [np.where(np.arange(len(kept)) == place, more, kept) for place, more in wider_counts(graph, kept)]
    assert all(model.expected(each) >= expected or macs_of(graph, each) > macs for each in wider)
    assert macs_of(graph, kept) <= macs
    assert found.macs <= macs * found.original_macs
