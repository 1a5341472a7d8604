"""Attention transfer: where in the image the features are strong."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from convslim.distill.views import Views, same_size


@dataclass(frozen=True)
class Attention:
    """L = Σ_positions mean_n,i (Q_s - Q_t)²_i with Q = v/‖v‖₂ and v = vec(mean_c F_c²), of length H·W.

    The mean over H·W entries is that of the authors' code, whose weight β = 1000 belongs to it. Widths may differ;
    maps of another size are averaged down to the smaller one.

    >>> import torch
    >>> ones, spot = torch.ones(1, 3, 1, 2), torch.tensor([[[[1.0, 0.0]]]])
    >>> round(float(Attention()(Views(spot, (spot,)), Views(spot, (ones,)), torch.tensor([0]))), 4)  # 1 - √½
    0.2929

    References:
        Zagoruyko and Komodakis, "Paying More Attention to Attention: Improving the Performance of Convolutional
        Neural Networks via Attention Transfer", ICLR 2017, arXiv:1612.03928.
    """

    def __call__(self, student: Views, teacher: Views, labels: Tensor) -> Tensor:
        """The loss of a batch; scores and `labels` are not looked at."""
        loss = student.maps[0].new_zeros(())
        for own, given in zip(student.maps, teacher.maps, strict=True):
            seen, shown = (attention_map(maps) for maps in same_size(own, given))
            loss = loss + (seen - shown).square().mean()
        return loss


def attention_map(maps: Tensor) -> Tensor:
    """Q of maps (N, C, H, W): (N, H·W), each row of length 1."""
    return F.normalize(maps.square().mean(1).flatten(1), dim=1)
