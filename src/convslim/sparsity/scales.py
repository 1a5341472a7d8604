"""Which BatchNorm scales a sparsity penalty may press on: those of channels that can be removed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from convslim.channels.graph import ChannelGraph, ParamAxis
from convslim.errors import ModelError


def scale_strengths(graph: ChannelGraph, model: nn.Module, strength: float) -> dict[str, Tensor]:
    """λ for every entry of every BatchNorm scale γ: `strength` where the channel is prunable, else 0.

    Args:
        graph: trace of `model`.
        strength: λ of `R(γ) = λ·Σ|γ_c|`; 1e-4 is usual for plain networks, 1e-5 for residual ones.

    Returns:
        Parameter name → (num_features,) float32. BatchNorms without prunable channels are left out.

    Raises:
        ModelError: no prunable channel has a BatchNorm scale.
    """
    strengths: dict[str, Tensor] = {}
    for axes in norms_of_prunable_channels(graph, model).values():
        for axis in axes:
            chosen = strengths.setdefault(axis.tensor, torch.zeros(graph.tensors[axis.tensor]))
            chosen[torch.from_numpy(axis.index).flatten()] = strength
    if not strengths:
        raise ModelError(
            f"{type(model).__name__} has no BatchNorm scale on a prunable channel ({len(graph.prunable)} "
            "prunable groups), so there is nothing to sparsify. Leave out the 'sparsify' step and prune by "
            "'l1' or 'fpgm'."
        )
    return strengths


def norms_of_prunable_channels(graph: ChannelGraph, model: nn.Module) -> dict[str, list[ParamAxis]]:
    """BatchNorms whose scale carries channels that may be removed, with the axes of these scales.

    Args:
        graph: trace of `model`.

    Returns:
        Module name → axes of its scale, one per group, in the order in which the forward pass meets the groups.
    """
    norms = {
        f"{name}.weight" if name else "weight": name
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.affine
    }
    found: dict[str, list[ParamAxis]] = {}
    for group in graph.prunable:
        for axis in group.axes:
            if axis.role == "scale" and axis.tensor in norms:
                found.setdefault(norms[axis.tensor], []).append(axis)
    return found
