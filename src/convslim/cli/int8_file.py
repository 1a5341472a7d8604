"""A network in 8-bit integers from images without labels: the file, and what it is worth, for the commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convslim.cli.compress_report import parity_facts
from convslim.compress import fitted_and_held
from convslim.data import Split
from convslim.export import export_int8
from convslim.measure.parity import parity
from convslim.quantize import quantize
from convslim.quantize.ptq import Ranges, Rounding
from convslim.train.onnx_file import evaluate_file

CALIBRATED = 500
"""Images for the ranges of activations; more change nothing that was measured."""

COMPARED = 200
"""Images on which file and simulation are compared."""


@dataclass(frozen=True)
class How:
    """Options of :func:`convslim.quantize.quantize`."""

    float_layers: tuple[str, ...] = ()
    ranges: Ranges = "mse"
    rounding: Rounding = "nearest"
    equalize: bool = False


def int8_file(
    original: nn.Module, network: nn.Module, batches: Sequence[Tensor], test: Split | None, path: Path, how: How
) -> dict[str, Any]:
    """Write the int8 file of a network, and say what it is: as JSON values.

    `parity` compares with the original on the images that were not fitted; `test` is what the file itself got right.

    Raises:
        ExportError: the network cannot be written in integers.
        ArtifactError: the file cannot be written.
        PlanError: a pattern of layers matches none.
    """
    fitted, held = fitted_and_held(batches)
    images = torch.cat([batch for batch in fitted if isinstance(batch, Tensor)])[:CALIBRATED]
    done = quantize(
        network,
        images,
        float_layers=how.float_layers,
        ranges=how.ranges,
        rounding=how.rounding,
        equalize=how.equalize,
    )
    report = export_int8(done.model, images[:COMPARED], path)
    measured = None if test is None else evaluate_file(path, test)
    return {
        "file": str(path),
        "bytes": report.bytes,
        "calibrated": len(images),
        "integer_layers": len(report.kernels.integer),
        "float_layers": {name: done.left.get(name, "") for name in report.kernels.real} | dict(done.left),
        "noise": dict(done.noise),
        "error": report.error,
        "parity": parity_facts(parity(original, done.model, held)),
        "test": None if measured is None else dict(measured.record_fields()),
    }
