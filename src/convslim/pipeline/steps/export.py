"""Step `export`: the ONNX file, its agreement with PyTorch, and its latency beside the original's."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import Field

from convslim.export import export_onnx
from convslim.measure.latency import measure_latency
from convslim.pipeline.state import Context, Outcome, State, StepConfig
from convslim.report import LatencyRecord
from convslim.report.run_files import ORIGINAL


class LatencyConfig(StepConfig):
    """How to time: every batch size, the files in turn."""

    batches: tuple[int, ...] = (1,)
    threads: int = Field(default=1, ge=1)
    repeats: int = Field(default=100, ge=1)
    warmup: int = Field(default=10, ge=0)


class ExportStep(StepConfig):
    """Where to write, and how closely file and network must agree; `latency: null` measures none."""

    file: str = Field(default="model.onnx", pattern=r"^[^/\\]+\.onnx$")
    opset: int = Field(default=18, ge=18)
    dynamic_batch: bool = True
    tolerance: float = Field(default=1e-4, gt=0)
    latency: LatencyConfig | None = LatencyConfig()


def run_export(config: ExportStep, state: State, context: Context) -> Outcome:
    """Write the ONNX file into the run's folder; with `latency`, the original network's file beside it."""
    if not context.primary:
        return Outcome()
    options: dict[str, Any] = {
        "opset": config.opset,
        "dynamic_batch": config.dynamic_batch,
        "tolerance": config.tolerance,
        "facts": context.facts,
    }
    report = export_onnx(state.model, context.example_input, context.out / config.file, **options)
    details = {**asdict(report), "path": config.file}
    if config.latency is None:
        return Outcome(details=details)
    baseline = export_onnx(context.original(), context.example_input, context.out / ORIGINAL, **options)
    latency = _latency(config.latency, {"before": baseline.path, "after": report.path}, context)
    return Outcome(latency=latency, details=details)


def _latency(config: LatencyConfig, files: dict[str, Any], context: Context) -> tuple[LatencyRecord, ...]:
    records = []
    for batch in config.batches:
        found = measure_latency(
            files,
            context.source.input_shape,
            batch=batch,
            threads=config.threads,
            repeats=config.repeats,
            warmup=config.warmup,
        )
        records += [LatencyRecord(name=name, **asdict(latency)) for name, latency in found.items()]
    return tuple(records)
