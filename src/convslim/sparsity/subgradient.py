"""A sparsity penalty through its subgradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from convslim.sparsity.penalty import Parameters
from convslim.sparsity.shapes import L1, Shape


@dataclass(frozen=True)
class Subgradient:
    """R(γ) = Σ_c λ_c·r(|γ_c|), added to the gradient: g ← g + λ ⊙ r'(|γ|) ⊙ sign(γ).

    Scales hover around zero and never reach it exactly; weight decay and momentum act as usual.

    Args:
        strengths: parameter name → λ of each entry, shaped like the parameter; 0 leaves an entry alone.
        shape: r; L1 adds λ ⊙ sign(γ).

    References:
        Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017,
        arXiv:1708.06519.
    """

    strengths: Mapping[str, Tensor]
    shape: Shape = L1

    @torch.no_grad()
    def value(self, parameters: Parameters) -> float:
        """Σ λ_c·r(|γ_c|) over all penalized parameters."""
        return sum(
            float((strength.to(parameters[name].device) * self.shape.value(parameters[name].abs())).sum())
            for name, strength in self.strengths.items()
        )

    @torch.no_grad()
    def apply_gradient_(self, parameters: Parameters) -> None:
        """g ← g + λ ⊙ r'(|γ|) ⊙ sign(γ)."""
        for name, strength in self.strengths.items():
            parameter = parameters[name]
            if parameter.grad is not None:
                slope = self.shape.slope(parameter.abs())
                parameter.grad.addcmul_(strength.to(parameter), slope * parameter.sign())

    def apply_proximal_(self, parameters: Parameters, lr: float) -> None:
        """Nothing: the gradient carries the penalty."""
