"""L1 penalty through its proximal operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from convslim.sparsity.penalty import Parameters
from convslim.sparsity.subgradient import Subgradient


@dataclass(frozen=True)
class Proximal:
    """R(γ) = Σ_c λ_c·|γ_c|, applied as soft threshold after each step: γ ← sign(γ)·max(|γ| − η·λ, 0).

    Scales reach zero exactly. η is the learning rate of the step.

    Args:
        strengths: parameter name → λ of each entry, shaped like the parameter; 0 leaves an entry alone.

    References:
        Parikh and Boyd, "Proximal Algorithms", Foundations and Trends in Optimization 2014, section 4.2
        (proximal gradient method) and 6.5.2 (soft thresholding).
    """

    strengths: Mapping[str, Tensor]

    def value(self, parameters: Parameters) -> float:
        """Σ λ_c·|γ_c| over all penalized parameters."""
        return Subgradient(self.strengths).value(parameters)

    def apply_gradient_(self, parameters: Parameters) -> None:
        """Nothing: the threshold after the step carries the penalty."""

    @torch.no_grad()
    def apply_proximal_(self, parameters: Parameters, lr: float) -> None:
        """γ ← sign(γ)·max(|γ| − η·λ, 0)."""
        for name, strength in self.strengths.items():
            parameter = parameters[name]
            shrunk = (parameter.abs() - lr * strength.to(parameter)).clamp_min_(0)
            parameter.copy_(parameter.sign().mul_(shrunk))
