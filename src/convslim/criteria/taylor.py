"""First-order change of the loss when a channel is gated away."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from convslim.channels.graph import ChannelGroup, ParamAxis
from convslim.criteria.criterion import Criterion
from convslim.criteria.weights import norm_scales, rows


def taylor() -> Criterion:
    """``I_c = (Σ g·w)²``, averaged over batches: the squared first-order change of the loss.

    The sum runs over the weights that stand for a gate on the channel. Where it passes batch normalizations
    these are their γ and β, because ``g_γ γ + g_β β`` is the gradient of a gate behind the normalization;
    otherwise they are the filters and biases of its producers. Coupled layers are added before squaring: they
    go together.

    The unit is the loss squared, the same everywhere, so the scores rank globally as they are.

    References:
        Molchanov et al., *Importance estimation for neural network pruning*, CVPR 2019,
        arXiv:1906.10771, equation 8.
    """
    return Criterion("taylor", _score, needs_gradients=True, citation="Molchanov et al., CVPR 2019, arXiv:1906.10771")


def _score(group: ChannelGroup, tensors: Mapping[str, Tensor], gradients: Mapping[str, Tensor] | None) -> Tensor | None:
    grads = gradients or {}
    owners = {axis.tensor.removesuffix("weight") for axis in norm_scales(group, tensors)}
    gates = [axis for axis in group.axes if _is_of(axis, owners, ("weight", "bias"))]
    if not gates:
        makers = [axis for axis in group.axes if axis.role == "out"]
        owners = {axis.tensor.removesuffix("weight") for axis in makers}
        gates = makers + [axis for axis in group.axes if _is_of(axis, owners, ("bias",))]
    change = [
        (rows(tensors[axis.tensor], axis).double() * rows(grads[axis.tensor], axis)).sum(1)
        for axis in gates
        if axis.tensor in grads
    ]
    return torch.stack(change).sum(0).square() if change else None


def _is_of(axis: ParamAxis, owners: set[str], ends: tuple[str, ...]) -> bool:
    return axis.role == "scale" and any(axis.tensor == owner + end for owner in owners for end in ends)
