"""Short ways to write a network down and to read its graph."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convslim import ChannelGraph, trace
from convslim.channels.tape import ExampleInput
from convslim.conformance.case import Micro

X = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def sketch(run: Callable[..., Any], example: ExampleInput = X, /, **parts: Any) -> ChannelGraph:
    """Graph of the network, as a class, with these parts whose forward is ``run(net, *inputs)``."""
    return trace(Micro(run, **parts).eval(), example, ways=("class",))


def conv(inputs: int, outputs: int, kernel: int = 1, **options: Any) -> nn.Conv2d:
    """Convolution without bias, so that a group has few axes."""
    options.setdefault("padding", kernel // 2)
    return nn.Conv2d(inputs, outputs, kernel, bias=False, **options)


def widths(graph: ChannelGraph) -> dict[str, int]:
    """Channels of every prunable group."""
    return {group.name: group.num_channels for group in graph.prunable}


def places(graph: ChannelGraph, name: str) -> dict[tuple[str, int], list[Any]]:
    """Positions of a group's channels by tensor and dimension; plain numbers where a channel has one position."""
    found = {}
    for axis in graph.group(name).axes:
        index = axis.index[:, 0] if axis.index.shape[1] == 1 else np.sort(axis.index, axis=1)
        found[axis.tensor, axis.dim] = index.tolist()
    return found


def reasons(graph: ChannelGraph, producer: str) -> str:
    """Why the channels of a layer are pinned, in words."""
    return "\n".join(str(pin) for group in graph.groups if producer in group.producers for pin in group.pins)


def as_image(x: Tensor) -> Tensor:
    """A vector per example as an image of one pixel."""
    return x[:, :, None, None]
