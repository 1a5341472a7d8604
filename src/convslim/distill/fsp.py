"""The flow of solution procedure: how the features of one stage go with those of the next."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from convslim.distill.views import Views


@dataclass(frozen=True)
class SolutionFlow:
    """L = Σ_pairs mean (G_s - G_t)² with G = F₁ᵀF₂/(H·W), the mean over all N·C₁·C₂ entries.

    Pairs are consecutive positions; one position alone is paired with itself. The larger map is pooled by its
    maxima to the size of the smaller. Where widths differ, a 1×1 convolution trained with the student has brought
    its maps to the teacher's widths.

    >>> import torch
    >>> zeros, ones = torch.zeros(1, 2, 2, 2), torch.ones(1, 2, 2, 2)
    >>> float(SolutionFlow()(Views(zeros, (zeros, zeros)), Views(ones, (ones, ones)), torch.tensor([0])))
    1.0

    References:
        Yim, Joo, Bae and Kim, "A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and
        Transfer Learning", CVPR 2017.
    """

    def __call__(self, student: Views, teacher: Views, labels: Tensor) -> Tensor:
        """The loss of a batch; scores and `labels` are not looked at."""
        loss = student.maps[0].new_zeros(())
        for seen, shown in zip(_flows(student.maps), _flows(teacher.maps), strict=True):
            loss = loss + (seen - shown).square().mean()
        return loss


def _flows(maps: tuple[Tensor, ...]) -> list[Tensor]:
    following = maps[1:] or maps
    return [flow(first, second) for first, second in zip(maps, following, strict=False)]


def flow(first: Tensor, second: Tensor) -> Tensor:
    """G of maps (N, C₁, H, W) and (N, C₂, H', W'): (N, C₁, C₂)."""
    size = (min(first.shape[2], second.shape[2]), min(first.shape[3], second.shape[3]))
    left, right = (
        maps if tuple(maps.shape[2:]) == size else F.adaptive_max_pool2d(maps, size) for maps in (first, second)
    )
    return torch.einsum("nchw,ndhw->ncd", left, right) / (size[0] * size[1])
