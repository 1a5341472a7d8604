"""What rounding to integers took, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from convslim.report.markup import bar, breakable, element, joined, scrolled, table
from convslim.report.numbers import byte_text
from convslim.report.record import StepRecord
from convslim.report.run_files import RunFiles
from convslim.report.sections.section import Section


def quantization(run: RunFiles) -> Section | None:
    """The section; a run without an int8 file has none."""
    found = [step for step in run.record.steps if step.kind == "quantize" and "layers" in step.details]
    if not found:
        return None
    return Section(
        "quantization",
        "int8",
        "Signal-to-noise ratio of every layer's output, integers beside floats, with the noise of all layers before "
        "it: 10·log₁₀(Σ y² / Σ (ŷ − y)²) in dB. About 6 dB are one bit; low ones are where to look first.",
        joined(part for step in found for part in _parts(step)),
    )


def _parts(step: StepRecord) -> Iterator[Markup]:
    yield element("ul", *(element("li", text) for text in _facts(step)))
    layers: Mapping[str, float | None] = step.details["layers"]
    yield scrolled(_noise(layers), "Noise by layer")
    left = step.details.get("left")
    if isinstance(left, Mapping) and left:
        rows = [(breakable(name), str(reason)) for name, reason in left.items()]
        yield element("h3", "Left in float")
        yield scrolled(table(["layer", "why"], rows, texts=2), "Left in float")


def _facts(step: StepRecord) -> Iterator[str]:
    details: dict[str, Any] = step.details
    file = details.get("file", {})
    if "path" in file:
        size, layers = byte_text(int(file.get("bytes", 0))), file.get("integer_layers")
        yield f"{file['path']}: {size}, {layers} layers in integers."
    if file.get("float_layers"):
        yield f"Layers in float: {', '.join(map(str, file['float_layers']))}."
    if file.get("agreement") is not None:
        yield f"File and simulation give the same class on {100 * file['agreement']:.1f} % of the compared images."
    counts = {
        name: details[name].get("correct") for name in ("float", "simulation") if isinstance(details.get(name), dict)
    }
    told = [f"{name} {count:,}" for name, count in {**counts, "file": step.correct}.items() if count is not None]
    if len(told) > 1 and step.total:
        yield f"Right of {step.total:,} test images: {', '.join(told)}."
    if "num_images" in details:
        yield f"Ranges of {details['num_images']:,} training images, mode {step.config.get('mode', 'ptq')}."


def _noise(layers: Mapping[str, float | None]) -> Markup:
    known = [value for value in layers.values() if value is not None]
    most = max([*known, 1.0])
    lowest = min(known, default=None)
    rows = [
        (breakable(name), _decibels(value, value == lowest), bar(1.0 if value is None else value / most))
        for name, value in layers.items()
    ]
    caption = f"{len(layers)} layers, in the order of the forward pass"
    return table(["layer", "dB", ""], rows, caption=caption, drawn=True)


def _decibels(value: float | None, lowest: bool) -> str:
    """JSON has no number for a layer without any noise."""
    return "exact" if value is None else f"{value:.1f}" + (" (lowest)" if lowest else "")
