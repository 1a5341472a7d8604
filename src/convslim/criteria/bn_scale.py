"""Scale of the batch normalization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from convslim.channels.graph import ChannelGroup
from convslim.criteria.criterion import Criterion
from convslim.criteria.weights import norm_scales, rows
from convslim.errors import PlanError

Which = Literal["all", "first"]


def bn_scale(which: Which = "all") -> Criterion:
    """``I_c = mean |γ_c|`` over the batch normalizations that the channel passes, or ``|γ_c|`` of the first of them.

    γ is comparable across layers as it is, because every normalization gives its channels unit variance: that
    makes the criterion global. It says nothing of groups whose channels meet no batch normalization, and
    those stay whole.

    Args:
        which: ``"first"`` looks only at the normalization behind the layer that makes the channel: depthwise layers
            follow their input.

    Raises:
        PlanError: If ``which`` is something else.

    References:
        Liu et al., *Learning efficient convolutional networks through network slimming*, ICCV 2017,
        arXiv:1708.06519.
    """
    if which not in get_args(Which):
        raise PlanError(f"Criterion 'bn_scale': which is {which!r}; it must be one of {', '.join(get_args(Which))}.")
    score = _score if which == "all" else _first
    name = "bn_scale" if which == "all" else "bn_scale(which=first)"
    return Criterion(name, score, needs_gradients=False, citation="Liu et al., ICCV 2017, arXiv:1708.06519")


def _score(group: ChannelGroup, tensors: Mapping[str, Tensor], gradients: object) -> Tensor | None:
    scales = [rows(tensors[axis.tensor], axis).double().abs().mean(1) for axis in norm_scales(group, tensors)]
    return torch.stack(scales).mean(0) if scales else None


def _first(group: ChannelGroup, tensors: Mapping[str, Tensor], gradients: object) -> Tensor | None:
    scales = norm_scales(group, tensors)
    return rows(tensors[scales[0].tensor], scales[0]).double().abs().mean(1) if scales else None
