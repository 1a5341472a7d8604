"""A sparsity penalty through its proximal operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from convslim.sparsity.penalty import Parameters
from convslim.sparsity.shapes import L1, Shape
from convslim.sparsity.subgradient import Subgradient


@dataclass(frozen=True)
class Proximal:
    """R(γ) = Σ_c λ_c·r(|γ_c|), applied after each step: γ ← argmin_x ½(x − γ)² + η·λ·r(|x|).

    Scales reach zero exactly. η is the learning rate of the step. For r = L1 it is the soft threshold
    sign(γ)·max(|γ| − η·λ, 0).

    Args:
        strengths: parameter name → λ of each entry, shaped like the parameter; 0 leaves an entry alone.
        shape: r.

    References:
        Parikh and Boyd, "Proximal Algorithms", Foundations and Trends in Optimization 2014, section 4.2
        (proximal gradient method) and 6.5.2 (soft thresholding).
    """

    strengths: Mapping[str, Tensor]
    shape: Shape = L1

    def value(self, parameters: Parameters) -> float:
        """Σ λ_c·r(|γ_c|) over all penalized parameters."""
        return Subgradient(self.strengths, self.shape).value(parameters)

    def apply_gradient_(self, parameters: Parameters) -> None:
        """Nothing: the proximal step after the optimizer's carries the penalty."""

    @torch.no_grad()
    def apply_proximal_(self, parameters: Parameters, lr: float) -> None:
        """γ ← argmin_x ½(x − γ)² + η·λ·r(|x|)."""
        for name, strength in self.strengths.items():
            parameter = parameters[name]
            weight = lr * strength.to(parameter)
            shrunk = torch.where(weight > 0, self.shape.shrunk(parameter.abs(), weight), parameter.abs())
            parameter.copy_(parameter.sign().mul_(shrunk))
