"""Step `quantize`: an int8 file, after calibration alone or after training in integers, and its accuracy."""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import Any, Final, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, fx, nn

from convslim.export import Int8Report, export_int8
from convslim.pipeline.state import Context, Outcome, State, StepConfig
from convslim.pipeline.teacher import guidance
from convslim.quantize import quantize
from convslim.quantize.calibrate import calibrate_
from convslim.quantize.learned import Scales, learn_scales_
from convslim.quantize.noise import noise_ratios
from convslim.quantize.phase import Clock
from convslim.quantize.prepare import LEFT, prepare, weights_of
from convslim.quantize.ptq import BATCH, Ranges, Rounding
from convslim.train import TrainConfig, evaluate, fit
from convslim.train.onnx_file import evaluate_file

OF_OTHER: Final = {
    "ptq": ("scales", "delay", "freeze"),
    "qat": ("ranges", "equalize", "correct_bias", "rounding"),
}
"""Keys that belong to the other mode."""


class QuantizeStep(StepConfig):
    """`mode: ptq` calibrates on training images; `mode: qat` goes on to train in integers, as `train` says.

    `float_layers` are patterns of layers that stay float. `num_images` are taken for ranges, without their labels, and
    `compared` of them for the comparison of file and simulation. `ranges`, `equalize`, `correct_bias` and `rounding`
    belong to `ptq`, `train`, `scales`, `delay` and `freeze` to `qat`: the last two are shares of the training's steps,
    after which activations are rounded too, and ranges and BatchNorm statistics stand still. `limit` evaluates fewer
    test images.
    """

    mode: Literal["ptq", "qat"] = "ptq"
    file: str = Field(default="model-int8.onnx", pattern=r"^[^/\\]+\.onnx$")
    float_layers: tuple[str, ...] = ()
    num_images: int = Field(default=500, ge=1)
    compared: int = Field(default=200, ge=1)
    ranges: Ranges = "mse"
    equalize: bool = False
    correct_bias: bool = True
    rounding: Rounding = "nearest"
    train: TrainConfig | None = None
    scales: Scales = "observed"
    delay: float = Field(default=0.1, ge=0, le=1)
    freeze: float = Field(default=0.5, ge=0, le=1)
    opset: int = Field(default=18, ge=18)
    tolerance: float = Field(default=0.05, gt=0)
    limit: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> QuantizeStep:
        if (self.mode == "qat") != (self.train is not None):
            raise ValueError("mode qat needs train: {epochs: …, lr: …}, and mode ptq takes none")
        if foreign := self._foreign():
            other = "ptq" if self.mode == "qat" else "qat"
            raise ValueError(
                f"{', '.join(foreign)} would change nothing in mode {self.mode}: only mode {other} has them"
            )
        if self.delay > self.freeze:
            raise ValueError(f"delay {self.delay} lies behind freeze {self.freeze}")
        return self

    def _foreign(self) -> list[str]:
        """Keys of the other mode that are not as they are without a word."""
        fields = type(self).model_fields
        return [key for key in OF_OTHER[self.mode] if getattr(self, key) != fields[key].default]


def run_quantize(config: QuantizeStep, state: State, context: Context) -> Outcome:
    """Quantize, write the int8 file into the run's folder, and measure the file.

    The network of the state stays a float one; after `qat` it has the trained weights.
    """
    images = _images(config, context)
    if config.train is None:
        simulation, details = _calibrated(config, state, images)
    else:
        simulation, details = _trained(config, config.train, state, images, context)
    path = context.out / config.file
    report = export_int8(
        simulation,
        images[: config.compared],
        path,
        opset=config.opset,
        tolerance=config.tolerance,
        facts=context.facts,
    )
    inside = evaluate(simulation, context.source.test, limit=config.limit, quiet=context.quiet)
    model = _with_weights(state.model, weights_of(simulation)) if config.train else None
    before = evaluate(model or state.model, context.source.test, limit=config.limit, quiet=context.quiet)
    details |= {
        "file": _facts(report),
        "layers": {path: round(ratio, 2) for path, ratio in noise_ratios(simulation, [images[:BATCH]]).items()},
        "left": dict(simulation.meta[LEFT]),
        "float": before.record_fields(),
        "simulation": inside.record_fields(),
    }
    return Outcome(model=model, metrics=evaluate_file(path, context.source.test, config.limit), details=details)


def _images(config: QuantizeStep, context: Context) -> Tensor:
    batches = context.source.train.batches(BATCH, seed=config.seed, limit=config.num_images)
    return torch.cat([images for images, _ in batches])


def _calibrated(config: QuantizeStep, state: State, images: Tensor) -> tuple[fx.GraphModule, dict[str, Any]]:
    done = quantize(
        state.model,
        images,
        float_layers=config.float_layers,
        ranges=config.ranges,
        equalize=config.equalize,
        correct_bias=config.correct_bias,
        rounding=config.rounding,
    )
    details = {
        "num_images": done.num_images,
        "num_grids": done.num_grids,
        "equalized": [list(pair) for pair in done.equalized],
        "parity": asdict(done.parity),
    }
    return done.model, details


def _trained(
    config: QuantizeStep, train: TrainConfig, state: State, images: Tensor, context: Context
) -> tuple[fx.GraphModule, dict[str, Any]]:
    """Train in integers; the same loop, which goes on where it had been interrupted."""
    steps = train.epochs * (train.steps_per_epoch or max(1, len(context.source.train) // train.batch_size))
    clock = Clock(round(config.delay * steps), round(config.freeze * steps))
    simulation = prepare(state.model, images[:1], float_layers=config.float_layers, clock=clock)
    count = calibrate_(simulation, images.split(BATCH))
    if config.scales == "learned":
        learn_scales_(simulation)
    result = fit(
        simulation,
        context.source,
        train,
        out=context.work,
        resume=True,
        guidance=guidance(train, simulation, state, context),
        quiet=context.quiet,
    )
    trained = result.model.cpu()
    assert isinstance(trained, fx.GraphModule), "training gives what it was given"
    return trained, {"num_images": count, "epochs": [asdict(metrics) for metrics in result.history]}


def _with_weights(model: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    fresh = copy.deepcopy(model)
    fresh.load_state_dict(weights)
    return fresh


def _facts(report: Int8Report) -> dict[str, Any]:
    return {
        "path": report.path.name,
        "bytes": report.bytes,
        "opset": report.opset,
        "error": report.error,
        "agreement": report.agreement,
        "integer_layers": len(report.kernels.integer),
        "float_layers": list(report.kernels.real),
        "kernels": dict(report.kernels.counts),
    }
