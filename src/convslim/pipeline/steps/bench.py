"""Step `bench`: latency of the ONNX files in the run's folder, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from convslim.errors import RecipeError, nearest
from convslim.measure.bench import Bench, bench
from convslim.measure.kernels import profile_onnx
from convslim.measure.runtimes import ONNX_RUNTIME, Subject, onnx_file, onnx_file_in_openvino
from convslim.measure.session import random_feeds
from convslim.pipeline.state import Context, Outcome, State, StepConfig
from convslim.report import LatencyRecord
from convslim.report.run_files import ORIGINAL


class BenchStep(StepConfig):
    """Which files of the run's folder to time, and how; without `files` all of them.

    Speed-ups are against `baseline`, otherwise against the original network's file if there is one, otherwise against
    the first file. `profile` adds the time of every layer.
    """

    files: tuple[str, ...] = ()
    baseline: str | None = None
    batches: tuple[int, ...] = Field(default=(1,), min_length=1)
    threads: int = Field(default=1, ge=1)
    repeats: int = Field(default=100, ge=1)
    warmup: int = Field(default=10, ge=0)
    also: tuple[Literal["openvino"], ...] = ()
    profile: bool = False


def run_bench(config: BenchStep, state: State, context: Context) -> Outcome:
    """Time the files in turn; the network stays as it is."""
    if not context.primary:
        return Outcome()
    names = _names(config, context.out)
    subjects = [subject for name in names for subject in _subjects(config, context.out / name, name)]
    default = ORIGINAL if ORIGINAL in names else None
    found = bench(
        subjects,
        batches=config.batches,
        threads=config.threads,
        repeats=config.repeats,
        warmup=config.warmup,
        baseline=config.baseline or default,
    )
    return Outcome(
        latency=tuple(_records(found)), details={**asdict(found), "profiles": _profiles(config, context, names)}
    )


def _names(config: BenchStep, folder: Path) -> list[str]:
    """The files to time; they are there."""
    there = sorted(path.name for path in folder.glob("*.onnx"))
    wanted = list(config.files) or there
    if not wanted:
        raise RecipeError("There is no ONNX file in the run's folder to time. Put export before bench.")
    for name in wanted:
        if name not in there:
            raise RecipeError(
                f"There is no file {name} in the run's folder to time; there are {', '.join(there) or 'none'}."
                f"{nearest(name, there)} Put the export that writes it before bench."
            )
    return wanted


def _subjects(config: BenchStep, path: Path, name: str) -> Iterator[Subject]:
    makers = [onnx_file, *([onnx_file_in_openvino] if "openvino" in config.also else [])]
    for maker in makers:
        subject = maker(path, threads=config.threads)
        yield Subject(name, subject.runtime, subject.prepare)


def _records(found: Bench) -> Iterator[LatencyRecord]:
    for row in found.rows:
        name = row.name if row.runtime == ONNX_RUNTIME else f"{row.name} in {row.runtime}"
        yield LatencyRecord(name=name, **asdict(row.latency))


def _profiles(config: BenchStep, context: Context, names: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Every kernel of every file."""
    if not config.profile:
        return {}
    feeds = partial(random_feeds, batch=config.batches[0])
    return {
        name: [
            {**asdict(kernel), "integer": kernel.integer}
            for kernel in profile_onnx(context.out / name, feeds, threads=config.threads, repeats=config.repeats)
        ]
        for name in names
    }
