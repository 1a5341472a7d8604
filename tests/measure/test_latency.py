"""`measure_latency`: statistics on a clock of its own, and files that are not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from convslim.errors import ArtifactError
from convslim.measure.latency import Latency, measure_latency, summary


def test_statistics_are_those_of_the_calls() -> None:
    now, shapes = [0.0], set()

    def subject(*milliseconds: float):
        times = iter(milliseconds)

        def call(images: np.ndarray) -> None:
            shapes.add(images.shape)
            now[0] += next(times) / 1000

        return call

    subjects = {"a": subject(9, 9, 1, 2, 3, 4, 5), "b": subject(9, 9, 10, 10, 10, 10, 10)}
    found = measure_latency(subjects, (3, 4, 5), batch=2, repeats=5, warmup=1, clock=lambda: now[0])
    assert shapes == {(2, 3, 4, 5)}
    assert found["a"].median_ms == pytest.approx(3)
    assert (found["a"].p10_ms, found["a"].p90_ms, found["a"].min_ms) == pytest.approx((1.4, 4.6, 1))
    assert found["b"].median_ms == pytest.approx(10)
    assert found["a"].repeats == 5
    assert found["a"].throughput == pytest.approx(2000 / 3)
    assert found["a"].spread == pytest.approx(3.2 / 3)


def test_percentiles_are_in_order() -> None:
    found = summary(np.random.default_rng(0).exponential(size=50).tolist(), 4, 2)
    assert 0 < found.min_ms <= found.p10_ms <= found.median_ms <= found.p90_ms
    assert found == Latency(found.median_ms, found.p10_ms, found.p90_ms, found.min_ms, 4, 2, 50)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no ONNX file"):
        measure_latency({"gone": tmp_path / "gone.onnx"}, (1, 2, 2))
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(ArtifactError, match=r"cannot load .*bad\.onnx"):
        measure_latency({"bad": tmp_path / "bad.onnx"}, (1, 2, 2))
