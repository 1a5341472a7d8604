"""Ranges from images: one pass of the float network under observation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves

from convslim.channels.tape import ExampleInput, as_arguments
from convslim.errors import DataError
from convslim.quantize.layer import QuantizedLayer
from convslim.quantize.phase import WATCHING, Phase
from convslim.quantize.prepare import call_of, calls_of, clock_of, grids_of


@contextmanager
def evaluating(model: fx.GraphModule, phase: Phase) -> Iterator[None]:
    """One phase, evaluation mode and no gradients for a while."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), clock_of(model).held(phase):
            yield
    finally:
        for module, flag in flags:
            module.training = flag


def run_batches(model: fx.GraphModule, batches: Iterable[ExampleInput]) -> Iterator[int]:
    """Run the network on every batch; yields the number of images of each.

    Raises:
        DataError: If a batch holds NaN or infinite values.
    """
    for number, batch in enumerate(batches, start=1):
        tensors = [leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
        if not all(bool(tensor.isfinite().all()) for tensor in tensors):
            raise DataError(
                f"Batch {number} of the calibration images holds NaN or infinite values, from which no range can be "
                "taken. Check how the images are read and normalized."
            )
        args, kwargs = as_arguments(batch)
        model(*args, **kwargs)
        yield len(tensors[0]) if tensors else 0


def calibrate_(model: fx.GraphModule, batches: Iterable[ExampleInput]) -> int:
    """Take the ranges of all grids from images; in place.

    Args:
        model: A simulation (:func:`convslim.quantize.prepare.prepare`).
        batches: Normalized images; a few hundred are enough.

    Returns:
        Number of images.

    Raises:
        DataError: If there is no image, or one with NaN or infinite values.
        ModelError: If the network gives NaN or infinite values.
    """
    with evaluating(model, WATCHING):
        count = sum(run_batches(model, batches))
    if not count:
        raise DataError("There is no image to calibrate on; give a few hundred.")
    for quantizer in grids_of(model).values():
        quantizer.grid()
    return count


def fix_weights_(model: fx.GraphModule) -> None:
    """Keep the scales of all layers' weights as the present weights give them; in place."""
    for path, node in calls_of(model).items():
        weight = model.get_parameter(f"{path}.weight")
        layer = model.get_submodule(str(node.target))
        assert isinstance(layer, QuantizedLayer)
        layer.fix_(layer.weight_scale(weight))


def correct_biases_(model: fx.GraphModule, batches: Iterable[ExampleInput]) -> dict[str, float]:
    """Take from every layer's bias what rounding its weights adds to its outputs on average, in place.

    For input x of the float network, ``bias_c ← bias_c - mean(w_rounded * x - w * x)_c``; where a BatchNorm is folded,
    ``β_c ← β_c - s_c · mean(...)``. Layers without either are left alone.

    Args:
        model: A calibrated simulation.
        batches: Normalized images, as for the calibration.

    Returns:
        By layer, the largest correction of a channel.

    References:
        Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019 (with
        images in place of the BatchNorm statistics).
    """
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def watch(path: str) -> None:
        def hook(module: QuantizedLayer, args: tuple[object, ...], output: Tensor) -> None:
            x, layer, norm, _, _ = args
            assert isinstance(x, Tensor)
            rounded = module.with_rounded_weight(x, layer, norm)  # type: ignore[arg-type]
            axis = -1 if isinstance(layer, torch.nn.Linear) else 1
            error = (rounded - output).movedim(axis, 0).flatten(1)
            sums[path] = sums.get(path, torch.zeros(len(error), dtype=torch.float64)) + error.double().sum(1).cpu()
            counts[path] = counts.get(path, 0) + error.shape[1]

        handles.append(model.get_submodule(str(nodes[path].target)).register_forward_hook(hook))

    nodes = calls_of(model)
    handles: list[torch.utils.hooks.RemovableHandle] = []
    for path in nodes:
        watch(path)
    try:
        with evaluating(model, WATCHING):
            for _ in run_batches(model, batches):
                pass
    finally:
        for handle in handles:
            handle.remove()
    return {path: _shift_(model, nodes[path], sums[path] / counts[path]) for path in nodes}


def _shift_(model: fx.GraphModule, node: fx.Node, error: Tensor) -> float:
    call = call_of(node)
    bias = model.get_submodule(call.norm or call.layer).bias
    if not isinstance(bias, Tensor):
        return 0.0
    with torch.no_grad():
        bias -= error.to(bias)
    return float(error.abs().max())
