"""Second-order change of the loss when a channel's weights go, with the Fisher matrix for the Hessian."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from convslim.channels.graph import ChannelGroup
from convslim.criteria.criterion import Criterion
from convslim.criteria.weights import rows


def obd() -> Criterion:
    """``I_c = ½ Σ_k h_k w_k²`` with ``h_k = mean g_k²`` over batches: the saliency of optimal brain damage.

    The sum runs over all parameters that make the channel: filters, biases, γ and β of all coupled producers. The
    diagonal of the Hessian is approximated by that of the empirical Fisher matrix. Exactly that are batches of one
    image; of N images the squares are of the mean gradient, at a minimum N times less, which ranks the same.

    The unit is that of the loss, the same everywhere, so the scores rank globally as they are.

    References:
        LeCun, Denker, Solla, *Optimal brain damage*, NIPS 1989; the Fisher matrix in its place: Theis et al.,
        *Faster gaze prediction with dense networks and Fisher pruning*, 2018, arXiv:1801.05787.
    """
    return Criterion("obd", _score, needs_gradients=True, citation="LeCun et al., NIPS 1989")


def _score(group: ChannelGroup, tensors: Mapping[str, Tensor], gradients: Mapping[str, Tensor] | None) -> Tensor | None:
    grads = gradients or {}
    parts = [
        (rows(tensors[axis.tensor], axis).double() * rows(grads[axis.tensor], axis)).square().sum(1) / 2
        for axis in group.axes
        if axis.role != "in" and axis.tensor in grads
    ]
    return torch.stack(parts).sum(0) if parts else None
