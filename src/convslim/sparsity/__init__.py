"""Penalties that drive BatchNorm scales to zero while training."""

from convslim.sparsity.penalty import Penalty
from convslim.sparsity.proximal import Proximal
from convslim.sparsity.scales import scale_strengths
from convslim.sparsity.subgradient import Subgradient

__all__ = ["Penalty", "Proximal", "Subgradient", "scale_strengths"]
