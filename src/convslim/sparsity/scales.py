"""Which scales a sparsity penalty may press on: those of channels that can be removed."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from convslim.channels.graph import ChannelGraph, ParamAxis
from convslim.errors import ModelError, nearest


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
    found = [axis for axes in norms_of_prunable_channels(graph, model).values() for axis in axes]
    if not found:
        raise ModelError(
            f"{type(model).__name__} has no BatchNorm scale on a prunable channel ({len(graph.prunable)} "
            "prunable groups), so there is nothing to sparsify. Name other gates, leave out the 'sparsify' step, or "
            "prune by 'l1' or 'fpgm'."
        )
    return _strengths(graph, found, strength)


def gate_strengths(graph: ChannelGraph, gates: Sequence[str], strength: float) -> dict[str, Tensor]:
    """λ for every entry of the parameters of these names: `strength` where the channel is prunable, else 0.

    Any parameter with one number per channel can be a gate: a BatchNorm's or GroupNorm's scale, a LayerScale, a
    factor of your own. A layer's bias is none: what it adds is not the channel.

    Args:
        graph: The network's trace.
        gates: Parameter names or patterns, `"stages.*.gamma"`.
        strength: λ.

    Returns:
        Parameter name → (num_channels,) float32.

    Raises:
        ModelError: a pattern matches no parameter with one number for each of some prunable channels.

    >>> from convslim.channels.trace import trace
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(4, 4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    >>> gate_strengths(trace(net, torch.zeros(1, 1, 8, 8)), ["1.weight"], 0.5)
    {'1.weight': tensor([0.5000, 0.5000, 0.5000, 0.5000])}
    """
    axes = [
        axis
        for group in graph.prunable
        for axis in group.axes
        if axis.role == "scale" and axis.tensor in graph.parameters and not axis.tensor.endswith("bias")
    ]
    names = sorted({axis.tensor for axis in axes})
    for pattern in gates:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ModelError(
                f"No parameter with one number for each of some prunable channels is called {pattern!r}."
                f"{nearest(pattern, names)}"
            )
    return _strengths(graph, [a for a in axes if any(fnmatchcase(a.tensor, pattern) for pattern in gates)], strength)


def _strengths(graph: ChannelGraph, axes: Sequence[ParamAxis], strength: float) -> dict[str, Tensor]:
    strengths: dict[str, Tensor] = {}
    for axis in axes:
        shape = graph.tensors[axis.tensor]
        chosen = strengths.setdefault(axis.tensor, torch.zeros(shape))
        index = torch.from_numpy(axis.index).flatten()
        chosen.index_fill_(axis.dim, index, strength)
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
