"""L2 norm of the filters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from convslim.channels.graph import ChannelGroup
from convslim.criteria.criterion import Criterion
from convslim.criteria.weights import filter_norms


def l2() -> Criterion:
    """``I_c = √(Σ w²)`` over all weights that make the channel: the L2 norm of its filters, all producers
    together.

    Norms of different layers are not comparable; rank them globally with ``normalized(l2())``, which is what
    the name ``"l2"`` stands for in the table.

    References:
        He et al., *Soft filter pruning for accelerating deep convolutional neural networks*, IJCAI 2018,
        arXiv:1808.06866; Fang et al., *DepGraph: towards any structural pruning*, CVPR 2023,
        arXiv:2301.12900, for the norm of coupled filters.
    """
    return Criterion("l2", _score, needs_gradients=False, citation="He et al., IJCAI 2018, arXiv:1808.06866")


def _score(group: ChannelGroup, tensors: Mapping[str, Tensor], gradients: object) -> Tensor | None:
    norms = filter_norms(group, tensors, 2)
    return torch.linalg.vector_norm(torch.stack(norms), 2, dim=0) if norms else None
