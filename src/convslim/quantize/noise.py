"""How much of a layer's output is rounding: signal-to-quantization-noise ratios."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, fx

from convslim.channels.tape import ExampleInput
from convslim.quantize.calibrate import evaluating, run_batches
from convslim.quantize.phase import PLAIN, QUANTIZED, Phase
from convslim.quantize.prepare import calls_of


def noise_ratios(model: fx.GraphModule, batches: Iterable[ExampleInput]) -> dict[str, float]:
    """For every quantized layer ``10·log₁₀(Σ y² / Σ (ŷ - y)²)`` in dB.

    y is the layer's output (BatchNorm included) in the float network, ŷ in the simulation, whose inputs carry the noise
    of all layers before. About 6 dB are one bit.

    Args:
        model: A calibrated simulation.
        batches: Normalized images; all outputs of the layers of one batch are kept at a time.

    Raises:
        DataError: If a batch holds NaN or infinite values.
    """
    totals = {path: torch.zeros(2, dtype=torch.float64) for path in calls_of(model)}
    for batch in batches:
        plain = _outputs(model, batch, PLAIN)
        for path, rounded in _outputs(model, batch, QUANTIZED).items():
            signal = plain[path].double()
            totals[path] += torch.stack([signal.square().sum(), (rounded.double() - signal).square().sum()]).cpu()
    return {path: _decibels(*pair.tolist()) for path, pair in totals.items()}


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def _outputs(model: fx.GraphModule, batch: ExampleInput, phase: Phase) -> dict[str, Tensor]:
    """What every quantized layer gives, at its first call."""
    found: dict[str, Tensor] = {}

    def keep(path: str) -> Callable[..., None]:
        def hook(module: object, args: object, output: Tensor) -> None:
            found.setdefault(path, output)

        return hook

    calls = calls_of(model).items()
    handles = [model.get_submodule(str(node.target)).register_forward_hook(keep(path)) for path, node in calls]
    try:
        with evaluating(model, phase):
            for _ in run_batches(model, [batch]):
                pass
    finally:
        for handle in handles:
            handle.remove()
    return found
