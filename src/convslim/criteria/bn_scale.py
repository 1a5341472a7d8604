"""Scale of the batch normalization."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from convslim.channels.graph import ChannelGroup
from convslim.criteria.criterion import Criterion
from convslim.criteria.weights import norm_scales, rows


def bn_scale() -> Criterion:
    """``I_c = mean |γ_c|`` over the batch normalizations that the channel passes.

    γ is comparable across layers as it is, because every normalization gives its channels unit variance: that
    makes the criterion global. It says nothing of groups whose channels meet no batch normalization, and
    those stay whole.

    References:
        Liu et al., *Learning efficient convolutional networks through network slimming*, ICCV 2017,
        arXiv:1708.06519.
    """
    return Criterion("bn_scale", _score, needs_gradients=False, citation="Liu et al., ICCV 2017, arXiv:1708.06519")


def _score(group: ChannelGroup, tensors: Mapping[str, Tensor], gradients: object) -> Tensor | None:
    scales = [rows(tensors[axis.tensor], axis).double().abs().mean(1) for axis in norm_scales(group, tensors)]
    return torch.stack(scales).mean(0) if scales else None
