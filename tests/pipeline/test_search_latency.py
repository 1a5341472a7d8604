"""Budgets of latency in step `search`: the result is measured, and all processes of a search share the times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pipeline.test_search import SMALL, context, network
from torch import nn

import convslim
import convslim.pipeline.timer as timer_module
from convslim.allocate import Measured, Timing
from convslim.channels.graph import ChannelGraph
from convslim.data import open_data
from convslim.errors import ArtifactError
from convslim.measure.latency_model import LatencyModel, WholeTime
from convslim.measure.layer_times import LayerTimes
from convslim.measure.timed_layer import timed_layers
from convslim.pipeline.state import State
from convslim.pipeline.steps.search import SearchStep, run_search
from convslim.pipeline.steps.search_latency import TIMES
from convslim.pipeline.steps.search_setup import set_up

ASKED = 2.4


@dataclass
class Paper:
    """A machine on which a layer takes as long as it has weights, and the whole of a cut network `slower` times that.

    Attributes:
        slower: Than the sum of its layers.
        original_ms: What it measures of the whole network.
        asked: How often it measured layers.
    """

    slower: float = 1.0
    original_ms: float = 4.0
    asked: int = 0

    def timing(self, graph: ChannelGraph, model: nn.Module, example: object, **how: Any) -> Timing:
        self.asked += 1
        sizes = np.array([group.num_channels for group in graph.groups], np.int64)
        drift = self.original_ms / 4.0
        times = LayerTimes(
            timed_layers(graph, how["batch"]),
            sizes,
            lambda shapes: {shape: drift * float(np.prod(shape.weight_shape)) for shape in shapes},
        )
        expected = LatencyModel.calibrated(times, WholeTime(self.original_ms, 0.9))

        def measure(plan: convslim.PruningPlan) -> Measured:
            counts = np.array([len(plan.kept[group.name]) for group in graph.groups])
            return Measured(self.slower * float(expected.expected(counts)), self.original_ms)

        return Timing(expected, self.original_ms, measure, "paper")


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Paper]:
    def machine(**options: Any) -> Paper:
        made = Paper(**options)
        monkeypatch.setattr(timer_module, "timing", made.timing)
        return made

    return machine


def config(**changes: Any) -> SearchStep:
    budget = {"budget": {"ms": ASKED}, "round_to": 1, **changes}
    return SearchStep.model_validate({**SMALL.model_dump(), **budget})


@pytest.mark.parametrize("slower", [1.0, 1.3, 0.8])
def test_the_network_that_is_cut_is_measured_and_near_the_budget(tmp_path: Path, paper, slower: float):
    paper(slower=slower)
    outcome = run_search(config(), State(network()), context(open_data("digits"), tmp_path))
    promise, corrected = outcome.details["latency"], outcome.details["corrected"]
    assert promise["kept"]
    assert 0.85 * ASKED <= promise["measured"]["ms"] <= 1.05 * ASKED
    assert promise["first_measured"]["ms"] == pytest.approx(slower * promise["first_predicted_ms"])
    assert bool(promise["num_corrections"]) == bool(corrected) == (slower != 1.0)
    names = {each["name"] for each in outcome.details["search"]["candidates"]}
    assert all(each["of"] in names and each["total"] == 100 for each in corrected)
    assert outcome.model is not None
    if corrected:  # the best of those that were evaluated for the last correction, or of the one before
        kept = {name: left for name, (left, _) in outcome.details["channels"].items()}
        assert [kept[gene] for gene in outcome.details["genes"]] in [each["widths"] for each in corrected]


def test_a_promise_that_cannot_be_kept_is_told(tmp_path: Path, paper):
    paper(slower=30.0)
    outcome = run_search(config(), State(network()), context(open_data("digits"), tmp_path))
    assert not outcome.details["latency"]["kept"]
    assert any("The latency was to be 2.4 ms and was measured as" in note for note in outcome.details["notes"])


def test_fronts_are_measured_too(tmp_path: Path, paper):
    paper(slower=1.02)
    changes = {"objective": "pareto", "metrics": ("macs", "latency"), "budget": {"ms": 3.6}}
    outcome = run_search(config(**changes), State(network()), context(open_data("digits"), tmp_path))
    assert outcome.details["latency"]["measured"]["ms"] <= 1.05 * 3.6


def test_a_resumed_search_and_its_workers_go_on_with_the_times_of_the_first(tmp_path: Path, paper):
    where, asked = context(open_data("digits"), tmp_path), config(budget={"latency": 0.6})
    paper()
    first = set_up(asked, State(network()), where)
    again_at = paper(original_ms=4.4)
    again = set_up(asked, State(network()), where)
    assert again.search.ledger.study.study_name == first.search.ledger.study.study_name
    assert again.search.space.limits.tolist() == first.search.space.limits.tolist()
    drawn = np.full(len(first.search.space.genes), 0.7)
    assert again.search.space.decode(drawn).tolist() == first.search.space.decode(drawn).tolist()
    assert again.timing is not None
    assert again.timing.measure is not None
    before = again_at.asked
    worker = set_up(asked, State(network()), replace(where, primary=False))
    assert again_at.asked == before
    assert worker.search.space.limits.tolist() == first.search.space.limits.tolist()


def test_damaged_times_are_a_clear_error(tmp_path: Path, paper):
    where = context(open_data("digits"), tmp_path)
    paper()
    set_up(config(), State(network()), where)
    (where.work / TIMES).write_text('{"layers": [')
    with pytest.raises(ArtifactError, match=r"times\.json.* is damaged"):
        set_up(config(), State(network()), where)
