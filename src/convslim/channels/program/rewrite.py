"""From the graph that ``torch.export`` gives to one that trains, moves devices and can be cut.

An exported graph is a snapshot: devices, training flags and the sizes of equal splits are numbers in it. Here they are
read at run time again, or written where a cut can change them.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import fx

_SKIPPED = str(Path(torch.__file__).parent)
_CODE_LINE = re.compile(r'File "([^"]+)", line (\d+)')
_POSITIONS = {"slice": ("start", "end"), "select": ("index",), "narrow": ("start",)}
ASSERTIONS = {"_assert_scalar", "_assert_async", "_assert_tensor_metadata", "sym_constrain_range"}


def packet(node: fx.Node) -> str:
    """The operation's name without overload, ``conv2d``; empty for everything that is no ATen operation."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten":
        return ""
    return target._schema.name.partition("::")[2]


def arguments(node: fx.Node) -> dict[str, Any]:
    """Every argument of a node that calls an ATen operation, by its schema name, defaults included."""
    assert isinstance(node.target, torch._ops.OpOverload)
    named: dict[str, Any] = {}
    for position, argument in enumerate(node.target._schema.arguments):
        default = argument.default_value if argument.has_default_value() else None
        named[argument.name] = (
            node.args[position] if position < len(node.args) else node.kwargs.get(argument.name, default)
        )
    return named


def set_arguments(node: fx.Node, named: Mapping[str, Any]) -> None:
    """Give a node all its arguments anew, as keyword-only ones where the schema says so."""
    assert isinstance(node.target, torch._ops.OpOverload)
    schema = node.target._schema.arguments
    node.args = tuple(named[argument.name] for argument in schema if not argument.kwarg_only)
    given = {argument.name: named[argument.name] for argument in schema if argument.kwarg_only}
    node.kwargs = {key: value for key, value in given.items() if value is not None}


def place(node: fx.Node) -> tuple[str, str]:
    """Dotted name and class of the innermost module that the node comes from."""
    stack = node.meta.get("nn_module_stack") or {}
    path, kind = next(reversed(list(stack.values())), ("", ""))
    # The second call of a shared module is written as ``path@1``.
    parts = [part.partition("@")[0] for part in str(path).split(".")]
    return ".".join(parts), str(kind).rpartition(".")[2]


def source(node: fx.Node) -> str:
    """``file.py:12`` of the innermost code outside PyTorch."""
    lines = _CODE_LINE.findall(node.meta.get("stack_trace") or "")
    own = [(file, line) for file, line in lines if not file.startswith(_SKIPPED)]
    return f"{Path(own[-1][0]).name}:{own[-1][1]}" if own else ""


def drop_assertions_(graph: fx.Graph) -> None:
    """Checks of example-specific facts, and the results nobody uses."""
    for node in reversed(list(graph.nodes)):
        guards = node.op == "call_module" and node.target == "_guards_fn"
        if guards or packet(node).partition("_for_size")[0] in ASSERTIONS:
            graph.erase_node(node)
    drop_unused_(graph)


def drop_unused_(graph: fx.Graph) -> None:
    """Nodes without users that change nothing."""
    for node in reversed(list(graph.nodes)):
        mutates = isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable
        if not node.users and node.op in ("call_function", "get_attr", "call_method") and not mutates:
            graph.erase_node(node)


def plain_constants_(graph: fx.Graph) -> None:
    """A tensor written in the code, ``torch.tensor([1.0, 2.0])``, is a fresh copy of a constant every time."""
    for node in list(graph.nodes):
        if packet(node) == "lift_fresh_copy":
            node.target = torch.ops.aten.clone.default
        elif packet(node) == "detach_" and packet(node.args[0]) == "clone":
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


def sizes_as_methods_(graph: fx.Graph) -> None:
    """``x.size(0)`` in place of an operation that a dispatch mode would record."""
    for node in list(graph.nodes):
        if packet(node) == "sym_size":
            with graph.inserting_before(node):
                size = graph.call_method("size", node.args)
            size.meta = dict(node.meta)
            node.replace_all_uses_with(size)
            graph.erase_node(node)


def splits_by_sizes_(graph: fx.Graph) -> None:
    """``split``, ``chunk`` and ``tensor_split`` into fixed parts name the size of every part."""
    for node in list(graph.nodes):
        if packet(node) not in ("split", "chunk", "tensor_split"):
            continue
        named, parts = arguments(node), node.meta["val"]
        dim = named.get("dim", 0)
        sizes = [part.shape[dim] for part in parts]
        if all(isinstance(size, int) for size in sizes):
            node.target = torch.ops.aten.split_with_sizes.default
            node.args, node.kwargs = (named.get("self", node.args[0]), sizes, dim), {}


def positions_from_front_(graph: fx.Graph) -> None:
    """A position that is counted from the end of a dimension of fixed size is counted from its front."""
    for node in graph.nodes:
        keys = _POSITIONS.get(packet(node), ())
        named = arguments(node) if keys else {}
        size = named["self"].meta["val"].shape[named["dim"]] if keys else 0
        if isinstance(size, int) and any(isinstance(named[key], int) and named[key] < 0 for key in keys):
            front = {key: named[key] + size for key in keys if isinstance(named[key], int) and named[key] < 0}
            set_arguments(node, {**named, **{key: max(position, 0) for key, position in front.items()}})


def free_devices_(graph: fx.Graph) -> None:
    """New tensors are made where the first input is."""
    first = next((node for node in graph.nodes if node.op == "placeholder"), None)
    device: fx.Node | None = None
    for node in list(graph.nodes):
        if not any(isinstance(value, torch.device) for value in (*node.args, *node.kwargs.values())):
            continue
        if device is None:
            assert first is not None, "a program has an input"
            with graph.inserting_after(first):
                device = graph.call_function(getattr, (first, "device"))

        def moved(value: Any, device: fx.Node = device) -> Any:
            return device if isinstance(value, torch.device) else value

        node.args = tuple(moved(value) for value in node.args)
        node.kwargs = {key: moved(value) for key, value in node.kwargs.items()}


def write_scales_(graph: fx.Graph) -> None:
    """The scale of an attention is a number, not a function of how many features are left."""
    for node in graph.nodes:
        if packet(node) == "scaled_dot_product_attention" and node.kwargs.get("scale") is None:
            width = node.args[0].meta["val"].shape[-1]
            if isinstance(width, int):
                node.kwargs = {**node.kwargs, "scale": 1 / math.sqrt(width)}


def computed_views_(graph: fx.Graph) -> None:
    """A size that a view computes from others, ``batch * heads``, is left to PyTorch, so that heads may go."""
    for node in graph.nodes:
        if packet(node) not in ("view", "reshape", "_unsafe_view") or not isinstance(node.args[1], (list, tuple)):
            continue
        sizes = list(node.args[1])
        computed = [place for place, size in enumerate(sizes) if _is_product(size)]
        if len(computed) == 1 and -1 not in sizes:
            sizes[computed[0]] = -1
            node.args = (node.args[0], sizes)


def _is_product(size: Any) -> bool:
    return isinstance(size, fx.Node) and size.target is operator.mul and any(isinstance(n, int) for n in size.args)
