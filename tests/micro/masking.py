"""The reference that removal is held to, in plain PyTorch and without the library's own proof."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from convslim import ChannelGraph

ROLES = {"consumers": ("in",), "all": ("in", "out", "scale")}


def state(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by every name they have."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def removed_positions(
    graph: ChannelGraph, kept: Mapping[str, Sequence[int]], roles: Sequence[str] = ROLES["all"]
) -> dict[tuple[str, int], set[int]]:
    """Positions by tensor and dimension that a plan removes, from the graph's axes alone."""
    positions: dict[tuple[str, int], set[int]] = {}
    for group in graph.groups:
        lost = sorted(set(range(group.num_channels)) - set(kept.get(group.name, range(group.num_channels))))
        for axis in group.axes:
            if axis.role in roles and lost:
                positions.setdefault((axis.tensor, axis.dim), set()).update(axis.index[lost].ravel().tolist())
    return positions


def masked(
    model: nn.Module, graph: ChannelGraph, kept: Mapping[str, Sequence[int]], how: str = "consumers"
) -> nn.Module:
    """A copy in which the weights that read removed channels are zero (`how` "all": what makes them, too)."""
    model = copy.deepcopy(model)
    tensors = state(model)
    with torch.no_grad():
        for (name, dim), positions in removed_positions(graph, kept, ROLES[how]).items():
            if not name.endswith("running_var"):
                tensors[name].index_fill_(dim, torch.tensor(sorted(positions)), 0.0)
    return model


def random_kept(graph: ChannelGraph, share: float, seed: int, least: int = 1) -> dict[str, tuple[int, ...]]:
    """A random part of the channels of every prunable group, at least `least` of each where there are as many."""
    rng = np.random.default_rng(seed)
    return {
        group.name: tuple(
            sorted(rng.permutation(group.num_channels)[: max(least, round(share * group.num_channels))].tolist())
        )
        for group in graph.prunable
    }


def relative_error(found: Any, expected: Any) -> float:
    """Largest difference of two nested outputs, each relative to the largest expected value of its tensor."""
    pairs = list(zip(tree_leaves(found), tree_leaves(expected), strict=True))
    errors = [0.0]
    for one, other in pairs:
        if isinstance(other, Tensor):
            assert one.shape == other.shape
            errors.append(float((one - other).abs().max() / other.abs().max().clamp(min=1e-6)))
        else:
            assert one == other
    return max(errors)
