"""Channel independence: how much nuclear norm the maps of a layer lose without one channel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from convslim.criteria.activations import ActivationCriterion, Over, averaged

CHUNK = 2**20  # numbers in one batch of matrices
_STEP, _REACH = 0.5, 16.0


def chip(over: Over = "mean") -> ActivationCriterion:
    """``I_c = mean_n (‖F_n‖_* − ‖M_c ⊙ F_n‖_*)``: F_n the flattened maps ``(C, HW)``, and M_c sets row c to zero.

    The norm is the sum of singular values. Taking it anew without each row would cost O(C⁴) an image; all C losses
    come from one eigendecomposition ``F Fᵀ = V diag(λ) Vᵀ`` instead. With ``v = V_c·`` and
    ``√λ = 2/π ∫ λ/(λ + s²) ds``,

        ``I_c = 2/π ∫₀^∞ (Σ_k v_k² λ_k / (λ_k + s²)²) / (Σ_k v_k² / (λ_k + s²)) ds``,

    a smooth integrand: 64 points on a logarithmic scale give it to 1e-6 of the largest singular value. O(C³ + C²·HW) an
    image. The unit is that of the maps; ``"chip"`` in the table stands for ``normalized(chip())``.

    Args:
        over: What becomes of the scores at the places of coupled producers: their mean, sum or max.

    References:
        Sui et al., *CHIP: channel independence-based pruning for compact neural networks*, NeurIPS 2021,
        arXiv:2110.13981.
    """
    return averaged("chip", _losses, "Sui et al., NeurIPS 2021, arXiv:2110.13981", over)


def _losses(maps: Tensor) -> Tensor:
    flat = maps.reshape(*maps.shape[:2], -1)
    channels = flat.shape[1]
    parts = flat.split(max(CHUNK // max(channels * flat.shape[2], channels * channels), 1))
    return torch.cat([_lost_norms(part.double()) for part in parts])


def _lost_norms(rows: Tensor) -> Tensor:
    """What the nuclear norm of matrices ``(N, C, M)`` loses without each row, ``(N, C)``.

    The integral is that of the logarithmic derivative of ``det(G_c + s²) / det(G + s²)``, G without row and column c
    above: ``(G + s²)⁻¹_cc``.
    """
    values, vectors = torch.linalg.eigh(rows @ rows.mT)
    values = values.clamp_min(0)
    weights = vectors.square()
    largest = values[:, -1:, None].sqrt()
    points = torch.arange(-_REACH, _REACH, _STEP, dtype=rows.dtype, device=rows.device).exp() * largest[:, 0]
    # maps of zeros: every ratio is 0 / 1
    inverse = torch.where(largest > 0, values[:, :, None] + points[:, None, :].square(), 1.0).reciprocal()
    ratio = (weights @ (values[:, :, None] * inverse.square())) / (weights @ inverse)
    return 2 / math.pi * _STEP * (ratio @ points[:, :, None])[..., 0]
