"""Budgets of latency on the command line, on a machine of paper."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import convslim.pipeline.timer as timer_module
from convslim.allocate import Measured, Timing
from convslim.channels.graph import ChannelGraph
from convslim.cli import app
from convslim.measure.latency_model import LatencyModel, WholeTime
from convslim.measure.layer_times import LayerTimes
from convslim.measure.timed_layer import timed_layers
from convslim.surgery.plan import PruningPlan


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, str]]:
    """A machine on which a layer takes as long as it has weights; returns how it was asked to measure."""
    found: list[tuple[int, int, str]] = []

    def timing(
        graph: ChannelGraph,
        model: nn.Module,
        example: object,
        *,
        threads: int,
        batch: int,
        arithmetic: str,
        on_start: Callable[[int], Callable[[], object]],
    ) -> Timing:
        found.append((threads, batch, arithmetic))
        step = on_start(3)
        step()
        sizes = np.array([group.num_channels for group in graph.groups], np.int64)
        times = LayerTimes(
            timed_layers(graph), sizes, lambda shapes: {s: float(np.prod(s.weight_shape)) for s in shapes}
        )
        expected = LatencyModel.calibrated(times, WholeTime(4.0, 0.9))

        def measure(plan: PruningPlan) -> Measured:
            counts = np.array([len(plan.kept[group.name]) for group in graph.groups])
            return Measured(float(expected.evaluate(counts)), 4.0)

        return Timing(expected, 4.0, measure, f"paper, {threads} threads, batch {batch}")

    monkeypatch.setattr(timer_module, "timing", timing)
    return found


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, f"exit code {result.exit_code}: {result.output}"
    return result.output


def test_prune_to_milliseconds(tmp_path: Path, asked: list[tuple[int, int, str]]) -> None:
    out = tmp_path / "small"
    text = call("prune", "digits_cnn", "--budget", "ms=2.4,macs=0.9", "--threads", 2, "--batch", 8, "--out", out)
    assert asked == [(2, 8, "float32")]
    assert "latency    4 → 2." in text
    assert "asked for 2.4 ms" in text
    assert "paper, 2 threads, batch 8" in text
    promise = json.loads((out / "record.json").read_text())["latency"]
    assert promise["kept"]
    assert promise["measured"]["ms"] <= 2.4


def test_prune_without_latency_measures_nothing(tmp_path: Path, asked: list[tuple[int, int, str]]) -> None:
    text = call("prune", "digits_cnn", "--budget", "macs=0.6", "--out", tmp_path / "small")
    assert not asked
    assert "asked for" not in text


def test_out_of_reach(tmp_path: Path) -> None:
    text = call("prune", "digits_cnn", "--budget", "latency=0.001", "--out", tmp_path / "small", code=1)
    assert "Error: The budget latency=0.004 ms cannot be reached" in text
    assert not (tmp_path / "small").exists()


def test_prune_to_the_time_of_the_int8_file(tmp_path: Path, asked: list[tuple[int, int, str]]) -> None:
    call("prune", "digits_cnn", "--budget", "latency=0.7", "--arithmetic", "int8", "--out", tmp_path / "small")
    assert asked == [(1, 1, "int8")]
    text = call("prune", "digits_cnn", "--budget", "ms=3", "--arithmetic", "int4", "--out", tmp_path / "no", code=2)
    assert "write one of float32, int8" in text


def test_compress_to_a_fraction(tmp_path: Path, asked: list[tuple[int, int, str]]) -> None:
    rng = np.random.default_rng(0)
    for number in range(40):
        Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(tmp_path / f"{number:02}.png")
    images = ("compress", "digits_cnn", "--images", tmp_path)
    text = call(*images, "--budget", "latency=0.6", "--arithmetic", "int8", "--threads", 1, "--json")
    promise = json.loads(text[text.index("{") :])["latency"]
    assert asked == [(1, 1, "int8")]
    assert promise["kept"]
    assert promise["asked_ms"] == pytest.approx(2.4)
