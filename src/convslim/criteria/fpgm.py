"""Distance to the other filters: what lies near the geometric median of its layer is replaceable."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from convslim.channels.graph import ChannelGroup
from convslim.criteria.criterion import Criterion
from convslim.criteria.weights import filters


def fpgm() -> Criterion:
    """``I_c = Σ_j ‖w_c − w_j‖₂`` over the channels j of the group.

    ``w_c`` are all weights that make the channel, the filters of coupled producers side by side. All
    distances come from one Gram matrix, ``‖a‖² + ‖b‖² − 2ab``: O(C²·K) multiplications, O(C²) memory.
    Distances of different layers are not comparable; the name ``"fpgm"`` in the table stands for
    ``normalized(fpgm())``.

    References:
        He et al., *Filter pruning via geometric median for deep convolutional neural networks acceleration*,
        CVPR 2019, arXiv:1811.00250.
    """
    return Criterion("fpgm", _score, needs_gradients=False, citation="He et al., CVPR 2019, arXiv:1811.00250")


def _score(group: ChannelGroup, tensors: Mapping[str, Tensor], gradients: object) -> Tensor | None:
    makers = [weights.double() for weights in filters(group, tensors)]
    if not makers:
        return None
    gram = torch.stack([weights @ weights.T for weights in makers]).sum(0)
    squares = gram.diagonal()
    distances = (squares[:, None] + squares[None, :] - 2 * gram).clamp(min=0).sqrt()
    return distances.fill_diagonal_(0).sum(1)
