"""Post-training quantization: int8 from a trained network and some images, in a minute, without labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map_only

from convslim.channels.tape import ExampleInput
from convslim.errors import DataError
from convslim.measure.parity import Parity, parity
from convslim.quantize.calibrate import calibrate_, correct_biases_, fix_weights_
from convslim.quantize.equalize import equalize_
from convslim.quantize.noise import noise_ratios
from convslim.quantize.observers import OBSERVERS
from convslim.quantize.prepare import LEFT, grids_of, prepare
from convslim.quantize.rounding import round_by_error_

BATCH = 100
COMPARED = 2
"""Batches on which layers' noise is measured."""

Ranges = Literal["minmax", "percentile", "mse"]
Rounding = Literal["nearest", "reconstruct"]


@dataclass(frozen=True, eq=False)
class Quantization:
    """A simulation in integers, and how good it is.

    Attributes:
        model: The simulation, for :func:`convslim.export.export_int8` or for training.
        num_images: Images it was calibrated on.
        num_grids: Activations' grids.
        noise: Signal-to-quantization-noise ratio of every quantized layer, dB.
        left: Layers that stay float, and why.
        equalized: Pairs of layers whose channels were equalized.
        corrected: Largest correction of a bias, by layer.
        rounded: By layer, the error of its outputs as a fraction of that of plain rounding; empty unless asked for.
        parity: How equal the simulation is to the float network on the calibration images.
    """

    model: fx.GraphModule
    num_images: int
    num_grids: int
    noise: Mapping[str, float]
    left: Mapping[str, str]
    equalized: tuple[tuple[str, str], ...]
    corrected: Mapping[str, float]
    rounded: Mapping[str, float]
    parity: Parity


def quantize(
    model: nn.Module,
    images: Tensor | Iterable[ExampleInput],
    *,
    float_layers: Iterable[str] = (),
    ranges: Ranges = "mse",
    equalize: bool = False,
    correct_bias: bool = True,
    rounding: Rounding = "nearest",
) -> Quantization:
    """Quantize a trained network to 8 bits, with some images and no labels.

    The network is written as a graph with BatchNorms folded, the float network runs once over the images to find the
    ranges of its activations, and biases are corrected for what rounding weights adds on average.

    Args:
        model: The trained network, left as found.
        images: What the network takes, normalized as for its training: a tensor ``(N, ...)``, or batches; 100 to 1,000.
        float_layers: Patterns (``fnmatch``) of layers that stay float.
        ranges: From the extremes (``minmax``), without the outermost 0.01 % of values (``percentile``), or with the
            least squared error (``mse``).
        equalize: Equalize channels' ranges across pairs of layers first (:func:`convslim.quantize.equalize.equalize_`).
        correct_bias: See :func:`convslim.quantize.calibrate.correct_biases_`.
        rounding: Every weight to the ``nearest`` integer, or a layer's weights together so that its outputs err least
            (``reconstruct``, :func:`convslim.quantize.rounding.round_by_error_`).

    Raises:
        DataError: If there is no image, or NaN or infinite values among them.
        ExportError: If the network cannot be written as a graph.
        PlanError: If a pattern matches no layer, or there is nothing to quantize.
        ModelError: If the network gives NaN or infinite values.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 4))
    >>> done = quantize(net, torch.randn(100, 3, 8, 8))
    >>> list(done.noise), done.parity.agreement > 0.9
    (['0', '3'], True)
    """
    batches = [*images.split(BATCH)] if isinstance(images, Tensor) else list(images)
    if not batches:
        raise DataError("There is no image to calibrate on; give a few hundred.")
    example = tree_map_only(Tensor, lambda tensor: tensor[:1] if tensor.dim() else tensor, batches[0])
    simulation = prepare(model, example, float_layers=float_layers, observer=OBSERVERS[ranges])
    equalized = equalize_(simulation) if equalize else ()
    count = calibrate_(simulation, batches)
    fix_weights_(simulation)
    by_error = rounding == "reconstruct"
    rounded = round_by_error_(simulation, batches, shift=correct_bias) if by_error else {}
    corrected = correct_biases_(simulation, batches) if correct_bias and not by_error else {}
    return Quantization(
        model=simulation,
        num_images=count,
        num_grids=len(grids_of(simulation)),
        noise=noise_ratios(simulation, batches[:COMPARED]),
        left=dict(simulation.meta[LEFT]),
        equalized=equalized,
        corrected=corrected,
        rounded=rounded,
        parity=parity(model, simulation, batches),
    )
