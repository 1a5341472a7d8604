"""L1 norm of the filters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from convslim.channels.graph import ChannelGroup
from convslim.criteria.criterion import Criterion
from convslim.criteria.weights import filter_norms


def l1() -> Criterion:
    """``I_c = Σ |w|`` over all weights that make the channel: the L1 norm of its filters, all producers
    together.

    Norms of different layers are not comparable; rank them globally with ``normalized(l1())``, which is what
    the name ``"l1"`` stands for in the table.

    References:
        Li et al., *Pruning filters for efficient ConvNets*, ICLR 2017, arXiv:1608.08710.
    """
    return Criterion("l1", _score, needs_gradients=False, citation="Li et al., ICLR 2017, arXiv:1608.08710")


def _score(group: ChannelGroup, tensors: Mapping[str, Tensor], gradients: object) -> Tensor | None:
    norms = filter_norms(group, tensors, 1)
    return torch.stack(norms).sum(0) if norms else None
