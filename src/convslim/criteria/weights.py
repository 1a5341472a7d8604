"""Reading the weights that belong to a group's channels, one row per channel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from convslim.channels.graph import ChannelGroup, ParamAxis


def rows(tensor: Tensor, axis: ParamAxis) -> Tensor:
    """Everything that a tensor holds at the positions of each channel.

    Returns:
        Shape ``(num_channels, K)``, the tensor's own type: for filters of a convolution K is
        ``C_in / groups * kH * kW``, times the positions per channel.
    """
    lines = tensor.detach().movedim(axis.dim, 0)
    order = axis.index.ravel()
    if len(order) != len(lines) or (order[1:] <= order[:-1]).any():
        lines = lines.index_select(0, torch.from_numpy(order).to(tensor.device))
    return lines.reshape(len(axis.index), -1)


def filters(group: ChannelGroup, tensors: Mapping[str, Tensor]) -> Iterator[Tensor]:
    """Filters of every layer that makes the group's channels, each of shape ``(num_channels, K)``."""
    return (rows(tensors[axis.tensor], axis) for axis in group.axes if axis.role == "out")


def filter_norms(group: ChannelGroup, tensors: Mapping[str, Tensor], order: int) -> list[Tensor]:
    """Norm of every channel's filter in every layer that makes the group's channels.

    Summed in float32 at least: sums in float64 take four times as long, and rank no better.

    Returns:
        Per layer ``(num_channels,)`` in float64.
    """
    return [
        torch.linalg.vector_norm(
            weights, order, dim=1, dtype=torch.promote_types(weights.dtype, torch.float32)
        ).double()
        for weights in filters(group, tensors)
    ]


def norm_scales(group: ChannelGroup, tensors: Mapping[str, Tensor]) -> tuple[ParamAxis, ...]:
    """The axes of a group that are scales γ of a batch normalization.

    A batch normalization is told from other per-channel weights (biases, PReLU slopes, layer scales) by its
    running variance: the tensors ``x.weight`` and ``x.running_var`` stand side by side. One without running
    statistics is not recognized.
    """
    scales = (axis for axis in group.axes if axis.role == "scale" and axis.tensor.endswith("weight"))
    return tuple(axis for axis in scales if axis.tensor.removesuffix("weight") + "running_var" in tensors)
