"""Which channels enter an activation as they leave their normalization, read off the recorded pass.

Those of projections and residual trunks do not: they are added to others, or read by a layer, as they are. A block's
inner channels do. Rules that cut a network inside its blocks only ask for this.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from convslim.channels.graph import ChannelGraph
from convslim.channels.tape import OpCall

ACTIVATIONS: Final = frozenset(
    {
        *("relu", "relu6", "hardtanh", "clamp", "clamp_min", "leaky_relu", "prelu", "_prelu_kernel", "rrelu", "elu"),
        *("celu", "selu", "gelu", "silu", "mish", "hardswish", "hardsigmoid", "sigmoid", "tanh", "softplus"),
    }
)
"""ATen operations, without in-place marks, that a channel may enter."""


def activated(graph: ChannelGraph) -> frozenset[str]:
    """Names of the prunable groups all of whose batch normalizations are read by activations only.

    Groups without a batch normalization are not among them.

    >>> import torch, convslim
    >>> net = torch.nn.Sequential(
    ...     torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU6(),
    ...     torch.nn.Conv2d(8, 4, 1), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 2, 1))
    >>> sorted(activated(convslim.trace(net, torch.zeros(1, 3, 8, 8))))
    ['0']
    """
    assert graph.evidence is not None, "a traced graph has evidence"
    calls = graph.evidence.tape.calls
    norms = {ref.name: call for call in calls if "batch_norm" in call.name for ref in call.inputs if ref.name}
    found = set()
    for group in graph.prunable:
        own = [norms[axis.tensor] for axis in group.axes if axis.role == "scale" and axis.tensor in norms]
        if own and all(reader.name in ACTIVATIONS for norm in own for reader in _readers(calls, norm)):
            found.add(group.name)
    return frozenset(found)


def _readers(calls: tuple[OpCall, ...], made: OpCall) -> Iterator[OpCall]:
    """The operations that read the first result of a call."""
    return (call for call in calls if any(ref.id == made.outs[0].id for ref in call.inputs))
