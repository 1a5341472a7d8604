"""Latency of several networks on this machine, measured side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convslim.measure.session import open_session
from convslim.measure.turns import Clock, time_in_turn

Images = npt.NDArray[np.float32]
Subject = str | Path | Callable[[Images], Any]

NOISY = 0.25
"""Spread from which a measurement is called noisy."""


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

    @property
    def spread(self) -> float:
        """How much the calls differ: (90th − 10th percentile) / median."""
        return (self.p90_ms - self.p10_ms) / self.median_ms


def measure_latency(
    subjects: Mapping[str, Subject],
    shape: Sequence[int],
    *,
    batch: int = 1,
    threads: int = 1,
    repeats: int = 100,
    warmup: int = 10,
    clock: Clock = time.perf_counter,
) -> dict[str, Latency]:
    """Time networks in turn, in short bursts: noise hits all alike.

    What it does not count: decoding and normalizing images, and copies to the runtime's input.

    Args:
        subjects: name → ONNX file (run by ONNX Runtime on the CPU), or a function of the images.
        shape: of one image, (C, H, W).
        threads: intra-op threads of ONNX Runtime; functions set their own.
        repeats: timed calls after `warmup` untimed ones, see :func:`convslim.measure.turns.time_in_turn`.

    Returns:
        name → `Latency`.

    Raises:
        ArtifactError: a file is missing or no ONNX model.

    >>> found = measure_latency({"twice": lambda images: 2 * images}, (3, 8, 8), batch=2, repeats=5)
    >>> found["twice"].repeats, found["twice"].min_ms <= found["twice"].median_ms
    (5, True)
    """
    images = np.random.default_rng(0).standard_normal((batch, *shape), dtype=np.float32)
    calls = {name: partial(_callable(subject, threads), images) for name, subject in subjects.items()}
    times = time_in_turn(calls, repeats=repeats, warmup=warmup, clock=clock)
    return {name: summary(values, batch, threads) for name, values in times.items()}


def _callable(subject: Subject, threads: int) -> Callable[[Images], Any]:
    if not isinstance(subject, str | Path):
        return subject
    session = open_session(subject, threads)
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})


def summary(milliseconds: Sequence[float], batch: int, threads: int) -> Latency:
    """Median, percentiles and minimum of the times of single calls."""
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
