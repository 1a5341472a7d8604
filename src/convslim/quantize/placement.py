"""Where grids belong in a graph: which tensors are integers in the file, and which of them share one grid.

Demand runs backward. A quantized layer demands its input on a grid, and gives its output on one (behind its ReLU where
that is its only reader); a sum, a product, a mean on a grid demands its operands; views, pooling by maximum, nearest
upsampling and joins pass the demand on and share the grid of what they read. Everything else stays real numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import fx, nn
from torch.utils._pytree import tree_leaves

from convslim.channels.program.layers import kind_of
from convslim.channels.program.rewrite import arguments
from convslim.channels.tape import ExampleInput, as_arguments
from convslim.channels.undisturbed import undisturbed
from convslim.errors import PlanError, nearest
from convslim.quantize.operations import LAYERS, Role, is_real, operands, role

_OTHER_CALL = "its weight is computed, or the call is not a layer's own"


@dataclass(frozen=True)
class LayerPlace:
    """A layer in the graph: its node, its module, the number of dimensions of what it reads, and node and module of
    the BatchNorm to fold (None: none)."""

    node: fx.Node
    path: str
    rank: int
    norm_node: fx.Node | None = None
    norm: str | None = None

    @property
    def result(self) -> fx.Node:
        """The node whose value the folded layer computes."""
        return self.norm_node or self.node


@dataclass(frozen=True)
class Placement:
    """What becomes integers.

    Attributes:
        layers: Quantized layers.
        sources: For every grid, by name, the nodes whose results are rounded to it.
        grids: The name of the grid on which a node's result lies, sources and those that pass it on.
        left: Layers that stay float, and why.
    """

    layers: tuple[LayerPlace, ...]
    sources: Mapping[str, tuple[fx.Node, ...]]
    grids: Mapping[fx.Node, str]
    left: Mapping[str, str]


def place(graph: fx.GraphModule, example_input: ExampleInput, float_layers: Iterable[str] = ()) -> Placement:
    """Decide where the grids of a graph are.

    Args:
        graph: A program's ``GraphModule``.
        example_input: Run once, to know which nodes give tensors of real numbers.
        float_layers: Patterns of layers (``fnmatch``) that stay float.

    Raises:
        PlanError: If a pattern matches no layer, or nothing is left to quantize.
    """
    tensors, ranks = _facts(graph, example_input)
    modules = dict(graph.named_modules(remove_duplicate=False))
    roles = {node: role(node, modules, tensors) for node in graph.graph.nodes}
    found, left = _layers(graph.graph, modules, roles, tuple(float_layers), ranks)
    if not found:
        raise PlanError(
            "No layer is left to quantize: no convolution and no linear layer is called, or all stay float."
        )
    hidden = {place.node for place in found if place.norm_node is not None}
    wanted = _wanted(graph.graph, roles, tensors, found, ranks)
    passing = {node: _passed(node, roles, tensors, wanted, hidden) for node in wanted}
    sources, grids = _grids(wanted, passing)
    return Placement(tuple(found), sources, {node: name for node, name in grids.items() if node in ranks}, left)


def _facts(graph: fx.GraphModule, example_input: ExampleInput) -> tuple[set[fx.Node], dict[fx.Node, int]]:
    """Nodes that give real tensors, or several of them, and the number of dimensions of the former."""
    tensors: set[fx.Node] = set()
    ranks: dict[fx.Node, int] = {}

    class Watching(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if n.op not in ("get_attr", "output") and any(is_real(leaf) for leaf in tree_leaves(result)):
                tensors.add(n)
                if is_real(result):
                    ranks[n] = result.dim()
            return result

    args, kwargs = as_arguments(example_input)
    names = [node.target for node in graph.graph.nodes if node.op == "placeholder"]
    with undisturbed(graph), torch.no_grad():
        Watching(graph).run(*args, *(kwargs[str(name)] for name in names[len(args) :]))
    return tensors, ranks


def _layers(
    graph: fx.Graph,
    modules: Mapping[str, nn.Module],
    roles: Mapping[fx.Node, Role],
    patterns: tuple[str, ...],
    ranks: Mapping[fx.Node, int],
) -> tuple[list[LayerPlace], dict[str, str]]:
    nodes = [node for node in graph.nodes if roles[node] == "layer"]
    names = list(dict.fromkeys(str(node.target) for node in nodes))
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise PlanError(
                f"float_layers: {pattern!r} matches none of the {len(names)} layers.{nearest(pattern, names)}"
            )
    left = {name: f"matches {pattern!r}" for pattern in patterns for name in names if fnmatchcase(name, pattern)}
    left |= dict(_others(graph, modules))
    kept = [node for node in nodes if str(node.target) not in left]
    return [_with_norm(node, modules, roles, ranks) for node in kept], left


def _others(graph: fx.Graph, modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, str]]:
    """Layers with weights for which runtimes have no integer kernels."""
    for node in graph.nodes:
        kind = kind_of(modules[str(node.target)]) if node.op == "call_module" else ""
        if kind.startswith("ConvTranspose"):
            yield str(node.target), f"{kind} has no integer kernel in ONNX Runtime"
        name = getattr(getattr(node.target, "_schema", None), "name", "").removeprefix("aten::")
        if name in ("conv1d", "conv2d", "conv3d", "linear", "convolution"):
            uneven = arguments(node).get("padding") == "same"
            why = "padding='same' pads its two sides differently" if uneven else _OTHER_CALL
            yield node.meta.get("module") or node.name, why


def _with_norm(
    node: fx.Node, modules: Mapping[str, nn.Module], roles: Mapping[fx.Node, Role], ranks: Mapping[fx.Node, int]
) -> LayerPlace:
    """The layer with the BatchNorm that alone reads it, if neither is called twice."""
    path, rank = str(node.target), ranks[node.all_input_nodes[0]]
    user = next(iter(node.users)) if len(node.users) == 1 else None
    if user is None or roles[user] != "norm" or kind_of(modules[path]) not in LAYERS:
        return LayerPlace(node, path, rank)
    norm: Any = modules[str(user.target)]
    once = all(_calls(node.graph, name) == 1 for name in (path, str(user.target)))
    other_axis = kind_of(modules[path]) == "Linear" and rank > 2
    if not once or norm.running_mean is None or other_axis:
        return LayerPlace(node, path, rank)
    return LayerPlace(node, path, rank, user, str(user.target))


def _calls(graph: fx.Graph, path: str) -> int:
    return sum(node.op == "call_module" and node.target == path for node in graph.nodes)


def _wanted(
    graph: fx.Graph,
    roles: Mapping[fx.Node, Role],
    tensors: set[fx.Node],
    layers: list[LayerPlace],
    ranks: Mapping[fx.Node, int],
) -> set[fx.Node]:
    """The nodes whose results lie on a grid."""
    wanted: set[fx.Node] = set()
    for place in layers:
        result = place.result
        wanted.update(operands(place.node, tensors))
        reader = next(iter(result.users)) if len(result.users) == 1 else None
        if reader is not None and roles[reader] == "clamp":
            result = reader
        if not (ranks.get(result) == 2 and _ends(result, roles)):
            wanted.add(result)
    behind = {place.norm_node for place in layers}
    for node in reversed(graph.nodes):
        if node in wanted and node not in behind:
            asked = _asks(node, roles, tensors)
            wanted.update(operand for operand in asked if operand in ranks or roles.get(operand) == "keep")
    return {node for node in wanted if node in tensors}


def _ends(node: fx.Node, roles: Mapping[fx.Node, Role]) -> bool:
    """True if only the network's output reads the node: the accumulators are given as real numbers then."""
    return all(roles[user] == "output" or (roles[user] == "keep" and _ends(user, roles)) for user in node.users)


def _asks(node: fx.Node, roles: Mapping[fx.Node, Role], tensors: set[fx.Node]) -> list[fx.Node]:
    """Operands that must lie on a grid because the node's result does."""
    if roles[node] in ("keep", "join", "sum", "mean"):
        return operands(node, tensors)
    (read,) = operands(node, tensors) if roles[node] == "clamp" else (None,)
    if read is not None and roles[read] == "sum" and len(read.users) == 1:
        return operands(read, tensors)
    return []


def _passed(
    node: fx.Node, roles: Mapping[fx.Node, Role], tensors: set[fx.Node], wanted: set[fx.Node], hidden: set[fx.Node]
) -> list[fx.Node]:
    """The nodes whose grid a node shares; none for a source."""
    shared = operands(node, tensors) if roles[node] in ("keep", "join") else []
    return shared if all(other in wanted and other not in hidden for other in shared) else []


def _grids(
    wanted: set[fx.Node], passing: Mapping[fx.Node, list[fx.Node]]
) -> tuple[dict[str, tuple[fx.Node, ...]], dict[fx.Node, str]]:
    """One grid for all nodes that pass numbers to each other, named after its first source."""
    root = {node: node for node in wanted}

    def find(node: fx.Node) -> fx.Node:
        while root[node] is not node:
            node = root[node]
        return node

    for node, others in passing.items():
        for other in others:
            root[find(node)] = find(other)
    members: dict[fx.Node, list[fx.Node]] = {}
    graph = next(iter(wanted)).graph
    for node in graph.nodes:
        if node in wanted:
            members.setdefault(find(node), []).append(node)
    sources: dict[str, tuple[fx.Node, ...]] = {}
    grids: dict[fx.Node, str] = {}
    for group in members.values():
        first = [node for node in group if not passing[node]]
        sources[first[0].name] = tuple(first)
        grids |= dict.fromkeys(group, first[0].name)
    return sources, grids
