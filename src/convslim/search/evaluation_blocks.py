"""Convolution, BatchNorm, sum and activation of a graph in one operation each, on a processor.

While statistics are estimated, normalization, sum and activation are one pointwise convolution behind the layer's own;
while a candidate is judged, all four are one convolution. Maps go through memory once instead of three or four times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from convslim.channels.program.rewrite import arguments, packet
from convslim.search.evaluation_fold import FoldedPair, folded
from convslim.search.evaluation_shell import Shell
from convslim.search.evaluation_statistics import Estimating, moments

NAME: Final = "_blocks"
DENSE: Final = 64
_ACTIVATIONS: Final = {"relu": "relu", "relu_": "relu", "hardtanh": "hardtanh", "hardtanh_": "hardtanh"}


@dataclass(frozen=True, eq=False)
class Chain:
    """Nodes that become one.

    Attributes:
        nodes: In order; the first is the convolution's.
        added: The sum among them, or None.
        activation: ``"relu"``, ``"hardtanh"`` or ``"none"``, with its bounds.
        pair: The layers.
    """

    nodes: tuple[fx.Node, ...]
    added: fx.Node | None
    activation: tuple[str, tuple[float, ...]]
    pair: FoldedPair


def chains_in(graph: fx.Graph, pairs: Sequence[FoldedPair], network: nn.Module) -> list[Chain]:
    """The chains that begin with one of the pairs."""
    norm_behind = {pair.conv: pair for pair in pairs}
    found: list[Chain] = []
    taken: set[fx.Node] = set()
    for node in graph.nodes:
        pair = norm_behind.get(str(node.target)) if node.op == "call_module" else None
        behind = _only_user(node)
        if pair is None or behind is None or behind.op != "call_module" or behind.target != pair.norm:
            continue
        conv = network.get_submodule(pair.conv)
        if type(conv) is nn.Conv2d and conv.padding_mode == "zeros" and not isinstance(conv.padding, str):
            chain = _chain(node, behind, pair)
            # A sum of two such layers goes with the first of them.
            found.append(Chain((node, behind), None, ("none", ()), pair) if taken & {*chain.nodes} else chain)
            taken |= {*found[-1].nodes}
    return found


def _chain(conv: fx.Node, norm: fx.Node, pair: FoldedPair) -> Chain:
    behind = _only_user(norm)
    added = behind if behind is not None and _is_sum_with(norm, behind) else None
    nodes = [conv, norm] if added is None else [conv, norm, added]
    active = _only_user(nodes[-1])
    if active is None or packet(active) not in _ACTIVATIONS:
        return Chain(tuple(nodes), added, ("none", ()), pair)
    named, kind = arguments(active), _ACTIVATIONS[packet(active)]
    bounds = (float(named["min_val"]), float(named["max_val"])) if kind == "hardtanh" else ()
    return Chain((*nodes, active), added, (kind, bounds), pair)


def _is_sum_with(norm: fx.Node, node: fx.Node) -> bool:
    """True for a plain sum of the BatchNorm's output and another tensor."""
    if packet(node) not in ("add", "add_"):
        return False
    named = arguments(node)
    # A sum that is written into the other tensor would be seen by all who read that.
    usable = named["self"] is norm or packet(node) == "add"
    return usable and named["alpha"] == 1 and isinstance(_other_end(node, norm), fx.Node)


def _other_end(added: fx.Node, norm: fx.Node) -> Any:
    named = arguments(added)
    return named["other"] if named["self"] is norm else named["self"]


def _only_user(node: fx.Node) -> fx.Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 and users[0].op in ("call_function", "call_module") else None


class Block(nn.Module):
    """One chain.

    Args:
        conv: The convolution.
        norm: The BatchNorm.
        activation: See :class:`Chain`.

    Attributes:
        conv: The convolution; what it holds at the time is used.
        estimating: Adds up the BatchNorm's statistics; None while candidates are judged.
        weight, bias: The convolution with the BatchNorm folded in.
    """

    def __init__(self, conv: nn.Conv2d, norm: _BatchNorm, activation: tuple[str, tuple[float, ...]]) -> None:
        super().__init__()
        self._layers = (conv, norm)  # in a tuple, so that they do not become submodules
        self._activation = activation
        self.sums = Estimating(norm)
        self.judging = False
        self.weight = self.bias = torch.empty(0)

    @property
    def norm(self) -> _BatchNorm:
        """The BatchNorm."""
        return self._layers[1]

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """act(BN(conv(x)) + other)."""
        conv, norm = self._layers
        if self.judging:
            sizes = (conv.padding, conv.stride, conv.dilation, conv.groups)
            return self._pointwise(x, other, self.weight, self.bias, *sizes)
        y = conv(x)
        count = y.numel() // y.shape[1]
        if count < 2 or not y.is_contiguous(memory_format=torch.channels_last):
            return self._plain(self.sums(y), other)
        mean, variance = self.sums.take_(*moments(y), count)
        factor = (
            torch.rsqrt(variance + norm.eps) if norm.weight is None else norm.weight * torch.rsqrt(variance + norm.eps)
        )
        offset = -mean * factor if norm.bias is None else norm.bias - mean * factor
        # Only ordinary convolutions take a sum with them; for many channels a diagonal one is more work than a sum.
        dense = other is not None and len(factor) <= DENSE
        weight = (torch.diag(factor) if dense else factor[:, None])[:, :, None, None].to(y.dtype)
        return self._pointwise(y, other, weight, offset, (0, 0), (1, 1), (1, 1), 1 if dense else len(factor))

    def _pointwise(self, x: Tensor, other: Tensor | None, weight: Tensor, bias: Tensor, *sizes: Any) -> Tensor:
        kind, bounds = self._activation
        if other is None:
            found: Tensor = torch.ops.mkldnn._convolution_pointwise(
                x, weight, bias.to(x.dtype), *sizes, kind, list(bounds), ""
            )
            return found
        if other.dtype != x.dtype or sizes[-1] != 1:
            return self._plain(
                torch.ops.mkldnn._convolution_pointwise(x, weight, bias.to(x.dtype), *sizes, "none", [], ""), other
            )
        unary = (None, [], None) if kind == "none" else (kind, list(bounds), "")
        added: Tensor = torch.ops.mkldnn._convolution_pointwise.binary(
            x, other, weight, bias.to(x.dtype), *sizes, "add", 1.0, *unary
        )
        return added

    def _plain(self, y: Tensor, other: Tensor | None) -> Tensor:
        kind, bounds = self._activation
        y = y if other is None else y + other
        return y if kind == "none" else y.clamp_min(0) if kind == "relu" else y.clamp(*bounds)


class Blocks:
    """The chains of a shell's network, which is rewritten once.

    Args:
        shell: Its network is changed.
        pairs: The convolutions that a BatchNorm alone reads.

    Attributes:
        pairs: Those that became blocks.
        blocks: The blocks, in the same order.
    """

    def __init__(self, shell: Shell, pairs: Sequence[FoldedPair]) -> None:
        network = shell.network
        chains = chains_in(network.graph, pairs, network) if isinstance(network, fx.GraphModule) else []
        self.pairs = tuple(chain.pair for chain in chains)
        self._shell = shell
        self.blocks: list[Block] = []
        for chain in chains:
            conv, norm = shell.modules()[chain.pair.conv], shell.modules()[chain.pair.norm]
            assert isinstance(conv, nn.Conv2d), "chains begin with a convolution"
            assert isinstance(norm, _BatchNorm), "pairs end with a BatchNorm"
            self.blocks.append(Block(conv, norm, chain.activation))
        if isinstance(network, fx.GraphModule) and chains:
            network.add_module(NAME, nn.ModuleList(self.blocks))
            for number, chain in enumerate(chains):
                _replace_(network.graph, chain, f"{NAME}.{number}")
            network.recompile()

    def begin_(self) -> None:
        """Estimate statistics from now on."""
        for block in self.blocks:
            block.judging = False
            block.sums.begin_()

    @torch.no_grad()
    def end_(self) -> None:
        """Judge from now on, with the statistics of the batches since."""
        held = self._shell.held
        for block, pair in zip(self.blocks, self.pairs, strict=True):
            block.sums.end_()
            kernel = held(pair.conv, "weight")
            assert kernel is not None, "a convolution has a weight"
            scale, shift = held(pair.norm, "weight"), held(pair.norm, "bias")
            weight, block.bias = folded(kernel, held(pair.conv, "bias"), block.norm, scale, shift)
            block.weight = self._shell.rounded(weight)
            block.judging = True


def _replace_(graph: fx.Graph, chain: Chain, name: str) -> None:
    first, last = chain.nodes[0], chain.nodes[-1]
    # Looked up now: what was added may have become a block itself.
    others = () if chain.added is None else (_other_end(chain.added, chain.nodes[1]),)
    with graph.inserting_before(last):
        block = graph.call_module(name, (first.args[0], *others))
    last.replace_all_uses_with(block)
    for node in reversed(chain.nodes):
        graph.erase_node(node)
