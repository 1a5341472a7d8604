"""What `convslim compress` found out: as data for the record, and as lines for people."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from convslim.channels.program.assemble import is_program
from convslim.cli.budget import change
from convslim.cli.calibration import Calibration
from convslim.cli.promise import promise_line
from convslim.compress import Compression
from convslim.measure.interval import wilson
from convslim.measure.machine import peak_memory
from convslim.measure.parity import Parity
from convslim.report import counted
from convslim.report.record import Machine, versions
from convslim.surgery.reconstruction.reconstruct import FittedLayer

ENOUGH = 3
"""Equations for every unknown of a fit below which more images are recommended."""

RECOMMENDED = 1000
"""Images to fit beyond which accuracy hardly rises, on networks for 32×32 images."""

_SHOWN = 5


class Clock:
    """Seconds of the stages of a command."""

    def __init__(self) -> None:
        self._before = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """The stage `name`, or a further part of it, ends now."""
        now = time.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + now - self._before
        self._before = now


def facts(done: Compression, found: Calibration, tested: Mapping[str, int] | None, clock: Clock) -> dict[str, Any]:
    """Everything that was measured, as JSON values; `test` is None where there are no labels."""
    solution, fitted = done.allocation, done.reconstruction
    return {
        "input": [1, *found.images.split.input_shape],
        "images": image_facts(found, fitted.num_images, done.parity.num_images),
        "macs": [solution.original_macs, solution.macs],
        "params": [solution.original_params, solution.params],
        "latency": None if solution.latency is None else solution.latency.to_data(),
        "way": "graph" if is_program(done.model) else "class",
        "certificate": asdict(done.certificate),
        "parity_cut": parity_facts(done.parity_cut),
        "parity": parity_facts(done.parity),
        "test": tested,
        "reconstruction": [_finite(asdict(layer)) for layer in fitted.layers],
        "left": [list(pair) for pair in fitted.left],
        "notes": [*found.notes, *solution.notes, *_few(fitted.num_images), *_thin(fitted.layers, fitted.num_images)],
        "seconds": clock.laps,
        "peak_memory_bytes": peak_memory(),
        "machine": Machine.here().model_dump(),
        "versions": versions(),
    }


def image_facts(found: Calibration, fitted: int, held_out: int) -> dict[str, Any]:
    """Which images were used, as JSON values."""
    images = found.images
    return {
        "found": images.found,
        "examined": images.examined,
        "fitted": fitted,
        "held_out": held_out,
        "skipped": [[str(file), reason] for file, reason in images.skipped],
        "gray": [str(file) for file in images.gray],
        "unusual": dict(images.unusual),
        "preparation": found.preparation,
    }


def _finite(layer: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: a layer that kept its weights has no λ."""
    return layer | {"strength": layer["strength"] if math.isfinite(layer["strength"]) else None}


def parity_facts(parity: Parity) -> dict[str, Any]:
    """A parity with the 95 % interval of its agreement."""
    found = asdict(parity)
    if parity.agreement is not None:
        found["agreed"] = round(parity.agreement * parity.num_images)
        found["agreement_interval"] = list(wilson(found["agreed"], parity.num_images))
    return found


def _few(num_images: int) -> Iterator[str]:
    if num_images < RECOMMENDED // 2:
        yield f"{num_images:,} images to fit are few; the result gets better up to about {RECOMMENDED:,}."


def _thin(layers: tuple[FittedLayer, ...], num_images: int) -> Iterator[str]:
    """Layers with few equations for their unknowns, and how many images would give enough."""
    thin = [layer for layer in layers if layer.num_rows < ENOUGH * layer.num_inputs]
    if thin:
        worst = max(thin, key=lambda layer: layer.num_inputs / layer.num_rows)
        wanted = math.ceil(ENOUGH * worst.num_inputs * num_images / worst.num_rows)
        yield (
            f"{len(thin)} of {len(layers)} refitted layers have few equations: {worst.module} has "
            f"{worst.num_rows:,} for {worst.num_inputs:,} unknowns. {wanted:,} images to fit would give {ENOUGH} for "
            "each; see --num-images."
        )


def lines(record: Mapping[str, Any]) -> Iterator[str]:
    """The record in words."""
    yield from image_lines(record["images"])
    yield from (f"note: {text}" for text in record["notes"])
    yield from (f"note: {module} was not refitted: {reason}" for module, reason in record["left"])
    if record["way"] == "graph":
        yield "note: numbers in the network's code hold channels back, so the smaller one is a graph of its operations"
    if number := record["certificate"]["num_approximate"]:
        yield f"note: {counted(number, 'group')} lost channels that others are normalized with"
    yield f"MACs       {change(*record['macs'])}"
    yield f"parameters {change(*record['params'])}"
    if record["latency"] is not None:
        yield promise_line(record["latency"])
    yield (
        f"Like the original on {record['parity']['num_images']:,} held-out images (on new ones it is less like it, if "
        "it was trained on these):"
    )
    yield f"  cut            {parity_text(record['parity_cut'])}"
    yield f"  reconstructed  {parity_text(record['parity'])}"
    if record["test"] is not None:
        yield _test_text(**record["test"])
    if record["int8"] is not None:
        yield from int8_lines(record["int8"])


def int8_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The int8 file in words."""
    yield f"{found['file']}: {found['bytes']:,} bytes, {counted(found['integer_layers'], 'layer')} in integers"
    yield from (f"  in float       {name}: {why}" for name, why in found["float_layers"].items())
    yield f"  in integers    {parity_text(found['parity'])}"
    if (test := found["test"]) is not None:
        yield f"  on {test['total']:,} test images the file is right on {test['correct']:,}"


def _test_text(total: int, correct_before: int, correct: int, agreed: int) -> str:
    shares = " → ".join(f"{100 * count / total:.2f} %" for count in (correct_before, correct))
    return (
        f"On {total:,} test images: accuracy {shares} ({correct_before:,} → {correct:,}), top-1 agreement "
        f"{_share(agreed, total)}"
    )


def _share(count: int, total: int) -> str:
    low, high = wilson(count, total)
    return f"{100 * count / total:.1f} % ({count:,} of {total:,}; 95 % interval {100 * low:.1f}–{100 * high:.1f})"


def image_lines(images: Mapping[str, Any]) -> Iterator[str]:
    """The same in words."""
    used = images["fitted"] + images["held_out"]
    yield (
        f"images     {used:,} of {images['found']:,} in use: {images['fitted']:,} to fit, {images['held_out']:,} held "
        "out to compare"
    )
    yield f"           {images['preparation']}"
    yield from _some("skipped", [reason for _, reason in images["skipped"]])
    yield from _some("converted", [f"image {file} is gray-scale." for file in images["gray"]])
    for name, treatment in _TREATMENTS.items():
        if count := images["unusual"].get(name):
            yield f"converted  {counted(count, 'image')}, {name}: {treatment}"


_TREATMENTS = {
    "CMYK": "turned into RGB without their color profile",
    "transparent": "transparency dropped, colors as stored",
    "rotated": "turned upright as their EXIF data say",
}


def _some(word: str, texts: list[str]) -> Iterator[str]:
    """The first few of many."""
    if texts:
        yield f"{word:<10} {counted(len(texts), 'image')}:"
        yield from (f"           {text}" for text in texts[:_SHOWN])
    if len(texts) > _SHOWN:
        yield f"           and {len(texts) - _SHOWN:,} more, all named in the record"


def parity_text(parity: Mapping[str, Any]) -> str:
    """A parity in one line."""
    error = f"relative squared error of the outputs {parity['error']:.2g}"
    if parity["agreement"] is None:
        return error
    return f"top-1 agreement {_share(parity['agreed'], parity['num_images'])}, KL {parity['kl']:.3g}, {error}"


def effort(clock: Clock) -> str:
    """Time and memory in one line."""
    parts = ", ".join(f"{value:.1f} s {name}" for name, value in clock.laps.items())
    peak = peak_memory()
    memory = "" if peak is None else f"; peak memory {peak / 2**30:.1f} GiB"
    return f"{sum(clock.laps.values()):.0f} s ({parts}){memory}"
