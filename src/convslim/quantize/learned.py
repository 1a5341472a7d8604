"""Scales that are trained with the weights: learned step size quantization.

The number nearest to x on a grid of step s is ``s·round(clamp(x/s))``. With a straight-through gradient of the
rounding, its derivative by s is ``round(x/s) - x/s`` inside the range, and the integer at the end of it outside: the
step shrinks where values crowd and grows where many are clamped. Gradients by steps are divided by ``√(n·q_max)``, n
the values that share the step, so that steps move as weights do.

References:
    Esser, McKinstry, Bablani, Appuswamy, Modha, *Learned Step Size Quantization*, ICLR 2020.
"""

from __future__ import annotations

from typing import Literal

from torch import fx

from convslim.errors import ModelError
from convslim.quantize.layer import QuantizedLayer
from convslim.quantize.prepare import calls_of, grids_of

Scales = Literal["observed", "learned"]
"""Whether scales follow what was observed, or are trained."""


def learn_scales_(model: fx.GraphModule) -> list[str]:
    """Make the scales of all grids and weights parameters, beginning with the present ones; in place.

    They take part in training from then on, with the weight decay of biases; zero points stay. Call it before an
    optimizer is made.

    Args:
        model: A calibrated simulation.

    Returns:
        Names of the new parameters.

    Raises:
        ModelError: If they are learned already, or a range is not known.

    >>> import torch
    >>> from torch import nn
    >>> from convslim.quantize.calibrate import calibrate_
    >>> from convslim.quantize.prepare import prepare
    >>> images = torch.randn(8, 3, 8, 8)
    >>> simulation = prepare(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)), images[:1])
    >>> _ = calibrate_(simulation, [images])
    >>> len(learn_scales_(simulation))
    5
    """
    before = {name for name, _ in model.named_parameters()}
    for quantizer in grids_of(model).values():
        if quantizer.step is not None:
            raise ModelError("The scales of this simulation are learned already.")
        quantizer.learn_()
    for path, node in calls_of(model).items():
        layer = model.get_submodule(str(node.target))
        assert isinstance(layer, QuantizedLayer), "nodes of calls_of call such layers"
        layer.learn_(layer.weight_scale(model.get_parameter(f"{path}.weight")))
    return [name for name, _ in model.named_parameters() if name not in before]
