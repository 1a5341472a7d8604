"""`measure_latency`: statistics, interleaving, and files that are not there."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from convslim.errors import ArtifactError
from convslim.measure.latency import measure_latency


def test_slower_is_measured_as_slower():
    found = measure_latency(
        {"fast": lambda images: time.sleep(0.001), "slow": lambda images: time.sleep(0.004)}, (1, 2, 2), repeats=7
    )
    assert found["fast"].median_ms < found["slow"].median_ms
    assert found["slow"].median_ms >= 4
    for latency in found.values():
        assert latency.min_ms <= latency.p10_ms <= latency.median_ms <= latency.p90_ms


def test_subjects_take_turns_and_warm_up_is_not_counted():
    calls: list[str] = []
    shapes = set()

    def subject(name: str):
        def call(images: np.ndarray) -> None:
            calls.append(name)
            shapes.add(images.shape)

        return call

    found = measure_latency({"a": subject("a"), "b": subject("b")}, (3, 4, 5), batch=2, repeats=3, warmup=2)
    assert calls == ["a", "b"] * 5
    assert shapes == {(2, 3, 4, 5)}
    assert found["a"].repeats == 3
    assert found["a"].throughput == pytest.approx(2000 / found["a"].median_ms)


def test_missing_and_damaged_files_are_named(tmp_path: Path):
    with pytest.raises(ArtifactError, match="no ONNX file"):
        measure_latency({"gone": tmp_path / "gone.onnx"}, (1, 2, 2))
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(ArtifactError, match=r"cannot load .*bad\.onnx"):
        measure_latency({"bad": tmp_path / "bad.onnx"}, (1, 2, 2))
