"""Rounding weights so that a layer's outputs err least, instead of every weight by itself.

Weights of a layer are rounded one input after the other; what the rounding of one does to the outputs is made up for by
those that are still real. With the Gram matrix H of the layer's inputs and U the upper Cholesky factor of H⁻¹, input i
adds ``(w_i - q_i)·U_ij / U_ii`` to every later weight j. No search, no gradients: one factorization a layer.

References:
    Frantar, Ashkboos, Hoefler, Alistarh, *GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
    Transformers*, ICLR 2023; the aim is that of Nagel et al., *Up or Down? Adaptive Rounding for Post-Training
    Quantization*, ICML 2020.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn

from convslim.channels.tape import ExampleInput
from convslim.quantize.calibrate import evaluating, run_batches
from convslim.quantize.grid import WEIGHT_MAX, per_channel
from convslim.quantize.layer import QuantizedLayer, affine_of
from convslim.quantize.phase import WATCHING
from convslim.quantize.prepare import call_of, calls_of
from convslim.surgery.reconstruction.moments import Moments
from convslim.surgery.reconstruction.rows import (
    LINEAR,
    Kernel,
    as_matrix,
    as_weight,
    input_rows,
    num_positions,
    sampled,
)

STRENGTH = 1e-2
"""What is added to the diagonal of H, as a fraction of its mean."""

PER_IMAGE = 16
"""Output positions taken of every image."""

TOGETHER = 64
"""Inputs whose errors reach the later ones in one product."""


def rounded(gram: Tensor, weights: Tensor) -> Tensor:
    """Integers near real weights, with ``tr (W - Q)ᵀ H (W - Q)`` small.

    Args:
        gram: H, ``(G, K, K)``.
        weights: W, ``(G, K, M)``, in steps of the grid.

    Returns:
        Q, ``(G, K, M)``, between -127 and 127, of W's kind.

    >>> gram = torch.tensor([[[1.0, 0.9], [0.9, 1.0]]])
    >>> rounded(gram, torch.tensor([[[0.4], [0.4]]]))[0, :, 0]  # rounded by themselves, both would be 0
    tensor([0., 1.])
    """
    left = weights.double().clone()
    upper = _upper_of_inverse(gram.double())
    result = torch.empty_like(left)
    for start in range(0, left.shape[1], TOGETHER):
        end = min(start + TOGETHER, left.shape[1])
        errors = torch.empty_like(left[:, start:end])
        for i in range(start, end):
            result[:, i] = left[:, i].round().clamp_(-WEIGHT_MAX, WEIGHT_MAX)
            errors[:, i - start] = (left[:, i] - result[:, i]) / upper[:, i, i, None]
            left[:, i + 1 : end] -= upper[:, i, i + 1 : end, None] * errors[:, i - start, None]
        left[:, end:] -= upper[:, start:end, end:].transpose(1, 2) @ errors
    return result.to(weights.dtype)


def _upper_of_inverse(gram: Tensor) -> Tensor:
    """U with ``UᵀU = (H + λ)⁻¹``."""
    level = gram.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-30)
    damped = gram + STRENGTH * level[:, None, None] * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)


def round_by_error_(model: fx.GraphModule, batches: Iterable[ExampleInput], *, shift: bool = True) -> dict[str, float]:
    """Put every layer's weights on their grid by :func:`rounded`; in place.

    Args:
        model: A calibrated simulation whose weights' scales are fixed
            (:func:`convslim.quantize.calibrate.fix_weights_`).
        batches: Normalized images, as for the calibration. The Gram matrices of all layers are held at once.
        shift: Take the mean error of the outputs from the layer's bias, or from the BatchNorm behind it.

    Returns:
        By layer, the error of its outputs as a fraction of what rounding every weight by itself would leave.

    Raises:
        DataError: If a batch holds NaN or infinite values.
    """
    views = {path: _View(model, node, shift=shift) for path, node in calls_of(model).items()}
    with evaluating(model, WATCHING):
        handles = [view.quantized.register_forward_hook(view.look_) for view in views.values()]
        try:
            for _ in run_batches(model, batches):
                pass
        finally:
            for handle in handles:
                handle.remove()
    return {path: view.write_() for path, view in views.items()}


class _View:
    """What a layer reads, summed over images, and its weights."""

    def __init__(self, model: fx.GraphModule, node: fx.Node, *, shift: bool) -> None:
        call = call_of(node)
        quantized = model.get_submodule(str(node.target))
        assert isinstance(quantized, QuantizedLayer), "nodes of calls_of call such layers"
        self.quantized = quantized
        self.layer: Any = model.get_submodule(call.layer)
        self.kernel = _kernel(self.layer)
        self.norm = model.get_submodule(call.norm) if call.norm else None
        bias = (self.norm or self.layer).bias
        self._bias = bias if shift and isinstance(bias, Tensor) else None
        self._scale = quantized.weight_scale(model.get_parameter(f"{call.layer}.weight"))
        self._moments = Moments.zeros(self._matrix()[..., :1])
        self._num_images = 0

    def look_(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        """See a batch: a forward hook."""
        features, count = args[0], len(args[0])
        positions = sampled(self._num_images, count, num_positions(output.shape, self.kernel, count), PER_IMAGE)
        x = input_rows(features, self.kernel, output.shape, positions.to(features.device))
        self._moments.add_(x, x[..., :1])  # only the inputs' sums are needed
        self._num_images += count

    @torch.no_grad()
    def write_(self) -> float:
        """Round the weights; their error as a fraction of that of plain rounding."""
        weight, before = self.layer.weight, self._matrix()
        about = self._moments.raw() if self._bias is None else self._moments.centered()
        steps = as_matrix((weight / per_channel(self._scale, weight)).double(), self.kernel)
        found = rounded(about.xx, steps)
        plain = steps.round().clamp(-WEIGHT_MAX, WEIGHT_MAX)
        scale = self._scale.double().reshape(len(found), 1, -1)
        after = found * scale
        weight.copy_(as_weight(after, self.kernel, weight.shape))
        if self._bias is not None:
            factor, _ = affine_of(self.norm, len(self._scale), weight)
            mean = (about.x[:, None] @ (after - before))[:, 0].reshape(-1)
            self._bias -= (mean * factor).to(self._bias)
        errors = [_error(about.xx, (each - steps) * scale) for each in (found, plain)]
        return errors[0] / errors[1] if errors[1] else 1.0

    def _matrix(self) -> Tensor:
        return as_matrix(self.layer.weight.detach().double(), self.kernel)


def _error(gram: Tensor, difference: Tensor) -> float:
    return float((difference * (gram @ difference)).sum())


def _kernel(layer: Any) -> Kernel:
    """The geometry of a layer; quantized convolutions are padded with zeros, on both sides alike."""
    if isinstance(layer, nn.Linear):
        return LINEAR
    return Kernel(
        transposed=False,
        size=tuple(layer.kernel_size),
        stride=tuple(layer.stride),
        padding=tuple(layer.padding),
        dilation=tuple(layer.dilation),
        output_padding=(0,) * len(layer.kernel_size),
        groups=layer.groups,
    )
