"""L1 penalty through its subgradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from convslim.sparsity.penalty import Parameters


@dataclass(frozen=True)
class Subgradient:
    """R(γ) = Σ_c λ_c·|γ_c|, added to the gradient: g ← g + λ ⊙ sign(γ).

    Scales hover around zero and never reach it exactly; weight decay and momentum act as usual.

    Args:
        strengths: parameter name → λ of each entry, shaped like the parameter; 0 leaves an entry alone.

    References:
        Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017,
        arXiv:1708.06519.
    """

    strengths: Mapping[str, Tensor]

    @torch.no_grad()
    def value(self, parameters: Parameters) -> float:
        """Σ λ_c·|γ_c| over all penalized parameters."""
        return sum(
            float((strength.to(parameters[name].device) * parameters[name].abs()).sum())
            for name, strength in self.strengths.items()
        )

    @torch.no_grad()
    def apply_gradient_(self, parameters: Parameters) -> None:
        """g ← g + λ ⊙ sign(γ)."""
        for name, strength in self.strengths.items():
            parameter = parameters[name]
            if parameter.grad is not None:
                parameter.grad.addcmul_(strength.to(parameter), parameter.sign())

    def apply_proximal_(self, parameters: Parameters, lr: float) -> None:
        """Nothing: the gradient carries the penalty."""
