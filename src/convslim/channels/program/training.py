"""Training flags of an exported graph, found by comparing it with the graph of training mode."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping

import torch
from torch import fx

from convslim.channels.program.layers import CONSTANTS
from convslim.channels.program.rewrite import ASSERTIONS, arguments, packet, place, set_arguments


def training_twins(graph: fx.Graph, training: fx.Graph | None) -> dict[fx.Node, fx.Node]:
    """The node of the training graph for every node of the evaluation graph: the n-th of its kind in its module."""
    if training is None:
        return {}
    found = dict(_numbered(training))
    return {node: found[key] for key, node in _numbered(graph) if key in found}


def _numbered(graph: fx.Graph) -> list[tuple[tuple[str, str, int], fx.Node]]:
    seen: Counter[tuple[str, str]] = Counter()
    numbered = []
    for node in graph.nodes:
        if node.op == "call_function":
            path = next(reversed([str(path) for path, _ in (node.meta.get("nn_module_stack") or {}).values()]), "")
            key = path, str(node.target)
            numbered.append(((*key, seen[key]), node))
            seen[key] += 1
    return numbered


def follow_training_(graph: fx.Graph, twins: Mapping[fx.Node, fx.Node]) -> None:
    """A flag that training turns on, and a rate that is zero in evaluation, are read from the module's own flag."""
    for node, twin in twins.items():
        if not packet(node):
            continue
        own, other = arguments(node), arguments(twin)
        for name, value in own.items():
            if value is False and other[name] is True:
                own[name] = _flag(graph, node)
            elif isinstance(value, float) and isinstance(other[name], float) and value == 0.0 != other[name]:
                with graph.inserting_before(node):
                    own[name] = graph.call_function(operator.mul, (other[name], _flag(graph, node)))
        if own != arguments(node):
            set_arguments(node, own)


def _flag(graph: fx.Graph, node: fx.Node) -> fx.Node:
    with graph.inserting_before(node):
        module = graph.create_node("get_attr", place(node)[0] or CONSTANTS)
        return graph.call_function(getattr, (module, "training"))


def training_notes(graph: fx.Graph, training: fx.Graph | None, twins: Mapping[fx.Node, fx.Node]) -> list[str]:
    """What the class does only in one of its modes, as sentences."""
    if training is None:
        return []
    matched = set(twins.values())
    lost = Counter(place(node)[1] for node in training.nodes if node not in matched and _computes(node))
    extra = sum(node not in twins and _computes(node) for node in graph.nodes)
    notes = []
    if lost:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in sorted(lost.items()))
        notes.append(
            f"The graph leaves out what the class runs in training mode only: {lost.total()} operations in {kinds}, "
            "for example stochastic depth or auxiliary outputs."
        )
    if extra:
        notes.append(
            f"The graph also runs in training mode what the class runs in evaluation mode only: {extra} operations."
        )
    return notes


def _computes(node: fx.Node) -> bool:
    """False for what only shows memory in another way, and for counters of batches."""
    if not packet(node) or packet(node) in ("sym_size", *ASSERTIONS):
        return False
    assert isinstance(node.target, torch._ops.OpOverload)
    schema = node.target._schema
    shows = not schema.is_mutable and any(value.alias_info is not None for value in schema.returns)
    read = node.args[0] if node.args else None
    return not shows and not (isinstance(read, fx.Node) and str(read.target).endswith("num_batches_tracked"))
