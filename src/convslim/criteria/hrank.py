"""Rank of the feature maps: a map of low rank carries little information."""

from __future__ import annotations

import torch
from torch import Tensor

from convslim.criteria.activations import ActivationCriterion, Over, averaged


def hrank(over: Over = "mean") -> ActivationCriterion:
    """``I_c = mean_n rank(f_n,c)``, each map as a matrix ``(H, W)``.

    Singular values below ``max(H, W) · eps`` of the largest one count as zero. Of maps with three spatial dimensions
    the ranks of all slices add; a map without two of them (tokens, single values) has rank 1, or 0 if it is zero.
    Ranks grow with the size of the map; the name ``"hrank"`` in the table stands for ``normalized(hrank())``. How far
    ranks spread around their mean still differs from layer to layer, widest where maps are small, and a global ranking
    cuts there. The publication sets a ratio for every layer: that is the allocation ``"uniform"``, or ``"per-group"``.

    Args:
        over: What becomes of the scores at the places of coupled producers: their mean, sum or max.

    References:
        Lin et al., *HRank: filter pruning using high-rank feature map*, CVPR 2020, arXiv:2002.10179.
    """
    return averaged("hrank", _ranks, "Lin et al., CVPR 2020, arXiv:2002.10179", over)


def _ranks(maps: Tensor) -> Tensor:
    if maps.ndim < 4:
        return (maps != 0).reshape(*maps.shape[:2], -1).any(-1)
    ranks: Tensor = torch.linalg.matrix_rank(maps.float() if maps.dtype != torch.float64 else maps)
    return ranks.reshape(*maps.shape[:2], -1).sum(-1)
