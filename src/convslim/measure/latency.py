"""Latency of several networks on this machine, measured side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convslim.errors import ArtifactError

Images = npt.NDArray[np.float32]
Subject = str | Path | Callable[[Images], Any]


@dataclass(frozen=True)
class Latency:
    """Time of one call in milliseconds: median, 10th and 90th percentile and minimum of `repeats` calls."""

    median_ms: float
    p10_ms: float
    p90_ms: float
    min_ms: float
    batch: int
    threads: int
    repeats: int

    @property
    def throughput(self) -> float:
        """Images per second at the median."""
        return 1000.0 * self.batch / self.median_ms


def measure_latency(
    subjects: Mapping[str, Subject],
    shape: Sequence[int],
    *,
    batch: int = 1,
    threads: int = 1,
    repeats: int = 100,
    warmup: int = 10,
) -> dict[str, Latency]:
    """Time networks in turn: each round calls every subject once, and noise hits all alike.

    What it does not count: decoding and normalizing images, and copies to the runtime's input.

    Args:
        subjects: name → ONNX file (run by ONNX Runtime on the CPU), or a function of the images.
        shape: of one image, (C, H, W).
        threads: intra-op threads of ONNX Runtime; functions set their own.
        repeats: timed rounds after `warmup` untimed ones.

    Returns:
        name → `Latency`.

    Raises:
        ArtifactError: a file is missing or no ONNX model.

    >>> found = measure_latency({"twice": lambda images: 2 * images}, (3, 8, 8), batch=2, repeats=5)
    >>> found["twice"].repeats, found["twice"].min_ms <= found["twice"].median_ms
    (5, True)
    """
    images = np.random.default_rng(0).standard_normal((batch, *shape), dtype=np.float32)
    calls = {name: _callable(subject, threads) for name, subject in subjects.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for round_number in range(warmup + repeats):
        for name, call in calls.items():
            started = time.perf_counter()
            call(images)
            elapsed = time.perf_counter() - started
            if round_number >= warmup:
                times[name].append(1000.0 * elapsed)
    return {name: _summary(values, batch, threads) for name, values in times.items()}


def _callable(subject: Subject, threads: int) -> Callable[[Images], Any]:
    if not isinstance(subject, str | Path):
        return subject
    import onnxruntime  # heavy, and not needed to time a function

    if not Path(subject).is_file():
        raise ArtifactError(f"There is no ONNX file {subject} to measure. Export the model first.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(str(subject), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a dozen exception classes, all children of Exception only
        raise ArtifactError(f"ONNX Runtime cannot load {subject}: {error}. Export the model anew.") from error
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})


def _summary(milliseconds: Sequence[float], batch: int, threads: int) -> Latency:
    p10, median, p90 = np.percentile(milliseconds, [10, 50, 90]).tolist()
    return Latency(
        median_ms=median,
        p10_ms=p10,
        p90_ms=p90,
        min_ms=min(milliseconds),
        batch=batch,
        threads=threads,
        repeats=len(milliseconds),
    )
