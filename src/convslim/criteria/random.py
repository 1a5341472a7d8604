"""Chance, the baseline that every other criterion has to beat."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from convslim.channels.graph import ChannelGroup
from convslim.criteria.criterion import Criterion


def random() -> Criterion:
    """``I_c`` uniform in [0, 1), drawn from PyTorch's default generator on the CPU.

    :func:`convslim.score` seeds that generator from its ``seed`` and the group's name, so the numbers of one
    group depend neither on the other groups nor on their order. The one criterion that does not look at the
    weights.

    References:
        Mittal et al., *Recovering from random pruning: on the plasticity of deep convolutional neural
        networks*, WACV 2018, arXiv:1801.10447.
    """
    return Criterion("random", _score, needs_gradients=False, citation="Mittal et al., WACV 2018, arXiv:1801.10447")


def _score(group: ChannelGroup, tensors: Mapping[str, Tensor], gradients: object) -> Tensor:
    return torch.rand(group.num_channels, dtype=torch.float64)
