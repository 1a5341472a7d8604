"""Latency in recipes: budgets of it, and step `bench`."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from torch import nn

import convslim.pipeline.timer as timer_module
from convslim.allocate import Measured, Timing
from convslim.channels.graph import ChannelGraph
from convslim.errors import BudgetError, RecipeError
from convslim.measure.latency_model import LatencyModel, WholeTime
from convslim.measure.layer_times import LayerTimes
from convslim.measure.timed_layer import timed_layers
from convslim.pipeline import parse_recipe, run
from convslim.report.table import run_table
from convslim.surgery.plan import PruningPlan

EXPORT = {"export": {"latency": None}}


def recipe(*steps: object):
    return parse_recipe(
        {
            "name": "short",
            "threads": 1,
            "model": {"spec": "digits_cnn"},
            "data": {"spec": "digits"},
            "evaluation": {"limit": 16},
            "steps": list(steps),
        }
    )


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, str]]:
    """A machine on which a layer takes as long as it has weights; returns how it was asked to measure."""
    asked: list[tuple[int, int, str]] = []

    def timing(
        graph: ChannelGraph,
        model: nn.Module,
        example: object,
        *,
        threads: int,
        batch: int,
        arithmetic: str,
        on_start: Callable[..., object],
    ) -> Timing:
        asked.append((threads, batch, arithmetic))
        sizes = np.array([group.num_channels for group in graph.groups], np.int64)
        times = LayerTimes(
            timed_layers(graph), sizes, lambda shapes: {s: float(np.prod(s.weight_shape)) for s in shapes}
        )
        expected = LatencyModel.calibrated(times, WholeTime(4.0, 0.9))

        def measure(plan: PruningPlan) -> Measured:
            counts = np.array([len(plan.kept[group.name]) for group in graph.groups])
            return Measured(1.02 * float(expected.evaluate(counts)), 4.0)

        return Timing(expected, 4.0, measure, "paper")

    monkeypatch.setattr(timer_module, "timing", timing)
    return asked


@pytest.mark.parametrize("budget", [{"latency": 0.6}, {"ms": 2.4}, {"latency": 0.6, "macs": 0.7}], ids=str)
def test_a_budget_of_latency_is_kept_and_recorded(budget: dict[str, float], tmp_path: Path, paper) -> None:
    prune = {"prune": {"criterion": "l1", "budget": budget, "timing": {"threads": 2, "batch": 8, "arithmetic": "int8"}}}
    record = run(recipe(prune), tmp_path / "run", quiet=True)
    promise = record.steps[0].details["latency"]
    assert promise["kept"]
    assert promise["asked_ms"] == pytest.approx(2.4)
    assert promise["measured"]["ms"] <= 2.4 * 1.05
    assert promise["setting"] == "paper"
    assert paper == [(2, 8, "int8")] * 2  # before everything, and when it is cut
    assert record.steps[0].macs < record.base_macs


def test_a_budget_out_of_reach_is_told_of_before_any_training(tmp_path: Path, paper) -> None:
    train = {"train": {"epochs": 100000}}
    with pytest.raises(BudgetError, match=r"Step 2 \(prune\): The budget latency=0\.004 ms cannot be reached"):
        run(recipe(train, {"prune": {"criterion": "l1", "budget": {"ms": 0.004}}}), tmp_path / "run", quiet=True)


def test_other_budgets_measure_nothing(tmp_path: Path, paper) -> None:
    record = run(recipe({"prune": {"criterion": "l1", "budget": {"macs": 0.6}}}), tmp_path / "run", quiet=True)
    assert record.steps[0].details["latency"] is None
    assert not paper


@pytest.mark.parametrize(
    ("prune", "message"),
    [
        ({"budget": {"latency": 1.5}}, r"budget\.latency: input should be less than or equal to 1; found 1\.5"),
        ({"budget": {"ms": 0}}, r"budget\.ms: input should be greater than 0"),
        ({"budget": {}}, "one or more of macs, params, latency, ms"),
        ({"budget": {"latncy": 0.5}}, "Did you mean 'latency'"),
        ({"budget": {"ms": 3}, "timing": {"threads": 0}}, r"timing\.threads"),
        ({"budget": {"ms": 3}, "timing": {"arithmetic": "int4"}}, r"timing\.arithmetic.*'float32' or 'int8'"),
    ],
)
def test_malformed_budgets(prune: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe({"prune": prune})


def test_bench_times_the_files_of_the_run(tmp_path: Path) -> None:
    cut = {"prune": {"criterion": "l1", "budget": {"macs": 0.6}}}
    bench = {"bench": {"batches": [1, 2], "repeats": 3, "warmup": 1, "profile": True}}
    files = [{"export": {"latency": None, "file": "dense.onnx"}}, cut, EXPORT]
    record = run(recipe(*files, bench), tmp_path / "run", quiet=True)
    step = record.steps[-1]
    assert [(entry.name, entry.batch) for entry in step.latency] == [
        ("dense.onnx", 1),
        ("model.onnx", 1),
        ("dense.onnx", 2),
        ("model.onnx", 2),
    ]
    assert step.details["baseline"] == ["dense.onnx", "onnxruntime"]
    assert step.details["rows"][0]["speedup"] == 1.0
    layers = [kernel["layer"] for kernel in step.details["profiles"]["model.onnx"] if kernel["layer"]]
    assert "block1.conv1" in layers
    assert (step.macs, step.correct) == (record.steps[-2].macs, None)
    text = io.StringIO()
    Console(width=100, file=text).print(run_table(record))
    assert "speed-ups against dense.onnx in onnxruntime" in " ".join(text.getvalue().split())


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (({"bench": {}},), r"Step 1 \(bench\): There is no ONNX file in the run's folder.*Put export before bench"),
        ((EXPORT, {"bench": {"files": ["modl.onnx"]}}), r"no file modl\.onnx .* Did you mean 'model\.onnx'"),
    ],
)
def test_bench_without_its_files(steps: tuple[object, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        run(recipe(*steps), tmp_path / "run", quiet=True)
