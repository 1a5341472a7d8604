"""Layer-adaptive magnitude: a filter's share of what would be left beside it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from convslim.channels.graph import ChannelGroup
from convslim.criteria.criterion import Criterion
from convslim.criteria.weights import filter_norms


def lamp() -> Criterion:
    """``I_c = ‖w_c‖² / Σ_j ‖w_j‖²``, the sum over the channels j of the group with ``‖w_j‖ ≥ ‖w_c‖``.

    ``w_c`` are all weights that make the channel, coupled producers together. The largest channel of every group
    scores 1.

    Published for single weights; this is the same score of filters. The k-th largest of C channels scores about 1/k,
    so that a global ranking would keep the same number of channels in every group, whatever its width: right for the
    thousands of weights of a layer, wrong for its few channels. ``"lamp"`` in the table stands for
    ``normalized(lamp())``, whose scores go with C / k.

    References:
        Lee et al., *Layer-adaptive sparsity for the magnitude-based pruning*, ICLR 2021, arXiv:2010.07611.
    """
    return Criterion("lamp", _score, needs_gradients=False, citation="Lee et al., ICLR 2021, arXiv:2010.07611")


def _score(group: ChannelGroup, tensors: Mapping[str, Tensor], gradients: object) -> Tensor | None:
    norms = filter_norms(group, tensors, 2)
    if not norms:
        return None
    squares = torch.stack(norms).square().sum(0)
    ascending = squares.sort().values
    above = ascending.flip(0).cumsum(0).flip(0)
    left = above[torch.searchsorted(ascending, squares)]
    return torch.where(left > 0, squares / left.clamp_min(1e-300), 0.0)
