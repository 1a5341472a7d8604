"""A program's graph as JSON values and back. Nothing is pickled, and only known targets are accepted.

Numbers, texts, booleans, None and lists stand for themselves; everything else is an object with one key that says
what it is: ``{"node": "conv2d_3"}``, ``{"dtype": "float32"}``, ``{"number": "inf"}``.
"""

from __future__ import annotations

import builtins
import keyword
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from convslim.errors import ArtifactError

_OPERATORS = "getitem add sub mul floordiv truediv mod neg pow lt le gt ge eq ne and_ or_ not_"
_SYMBOLIC = "sym_max sym_min sym_float sym_int sym_not sym_ite"
_BUILTINS: dict[str, Callable[..., Any]] = {
    **{f"operator.{name}": getattr(operator, name) for name in _OPERATORS.split()},
    **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc")},
    **{f"torch.{name}": getattr(torch, name) for name in _SYMBOLIC.split()},
    **{name: getattr(builtins, name) for name in ("round", "int", "float", "min", "max")},
    "getattr": getattr,
}
_NAMES = {id(function): name for name, function in _BUILTINS.items()}
_ATTRIBUTES = {"training", "device", "dtype"}
_METHODS = {"size"}
_REFUSED = {"from_file"}  # operations that reach beyond tensors
_PATH = re.compile(r"[\w\- /+:]+(\.[\w\- /+:]+)*")
_KINDS: dict[str, type] = {
    "dtype": torch.dtype,
    "memory_format": torch.memory_format,
    "layout": torch.layout,
}


def encode(graph: fx.Graph) -> list[dict[str, Any]]:
    """The nodes of a graph as JSON values.

    Raises:
        ArtifactError: If a node calls or holds something that has no place in a program.
    """
    return [
        {
            "name": node.name,
            "op": node.op,
            "target": _target_text(node),
            "args": _encode(list(node.args), node),
            "kwargs": {key: _encode(value, node) for key, value in node.kwargs.items()},
            **{key: node.meta.get(key, "") for key in ("module", "kind", "source")},
        }
        for node in graph.nodes
    ]


def _target_text(node: fx.Node) -> str:
    target = node.target
    if isinstance(target, str):
        return target
    if isinstance(target, torch._ops.OpOverload):
        return f"{target.namespace}.{target._schema.name.partition('::')[2]}.{target._overloadname}"
    if id(target) in _NAMES:
        return _NAMES[id(target)]
    raise ArtifactError(f"The graph's node {node.name!r} calls {target}, which cannot be written as data.")


def _encode(value: Any, node: fx.Node) -> Any:
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [_encode(entry, node) for entry in value]
    if isinstance(value, tuple):
        return {"tuple": [_encode(entry, node) for entry in value]}
    if isinstance(value, Mapping):
        return {"dict": [[_encode(key, node), _encode(entry, node)] for key, entry in value.items()]}
    for name, kind in _KINDS.items():
        if isinstance(value, kind):
            return {name: str(value).removeprefix("torch.")}
    raise ArtifactError(
        f"The graph's node {node.name!r} holds a {type(value).__name__} ({value!r}), which cannot be written as data."
    )


def decode(nodes: list[dict[str, Any]]) -> fx.Graph:
    """The graph of :func:`encode`'s values.

    Raises:
        ArtifactError: If a node calls something that no program calls, or the text is damaged.
    """
    graph = fx.Graph()
    known: dict[str, fx.Node] = {}
    try:
        for entry in nodes:
            node = _node(graph, entry, known)
            known[node.name] = node
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, RecursionError) as error:
        raise ArtifactError(f"The saved graph is damaged: {type(error).__name__}: {error}. Save it again.") from error
    return graph


def _node(graph: fx.Graph, entry: Mapping[str, Any], known: Mapping[str, fx.Node]) -> fx.Node:
    name, op = str(entry["name"]), str(entry["op"])
    if not name.isidentifier() or keyword.iskeyword(name) or name in known:
        raise ValueError(f"{name!r} is no name for a node")
    target = _target(op, str(entry["target"]), name)
    args = tuple(_decode(value, known) for value in entry["args"])
    kwargs = {str(key): _decode(value, known) for key, value in entry["kwargs"].items()}
    if target is getattr and (len(args) != 2 or kwargs or args[1] not in _ATTRIBUTES):
        raise ArtifactError(f"The saved graph's node {name!r} reads an attribute that no graph of convslim reads.")
    if op in ("placeholder", "get_attr") and (args or kwargs):
        raise ValueError(f"node {name!r} has arguments")
    if not all(key.isidentifier() for key in kwargs):
        raise ValueError(f"node {name!r} has arguments {sorted(kwargs)}")
    node = graph.create_node(op, target, args, kwargs, name)
    if node.name != name:
        raise ValueError(f"the node name {name!r} is reserved")
    node.meta.update({key: str(entry[key]) for key in ("module", "kind", "source")})
    return node


def _target(op: str, text: str, name: str) -> Any:
    if op == "call_function" and text in _BUILTINS:
        return _BUILTINS[text]
    if op == "call_function" and re.fullmatch(r"aten\.\w+\.\w+", text):
        _, packet, overload = text.split(".")
        if packet not in _REFUSED:
            return getattr(getattr(torch.ops.aten, packet), overload)
    allowed = {
        "placeholder": text.isidentifier() and not keyword.iskeyword(text),
        "output": text == "output",
        "get_attr": _PATH.fullmatch(text) is not None,
        "call_module": _PATH.fullmatch(text) is not None,
        "call_method": text in _METHODS,
    }
    if not allowed.get(op, False):
        raise ArtifactError(
            f"The saved graph's node {name!r} is a {op} of {text!r}. Graphs of convslim hold operations of PyTorch "
            "(aten) and a few functions on sizes only, so this one is refused; save the model again."
        )
    return text


def _decode(value: Any, known: Mapping[str, fx.Node]) -> Any:
    if isinstance(value, list):
        return [_decode(entry, known) for entry in value]
    if not isinstance(value, dict):
        return value
    ((key, held),) = value.items()
    if key == "node":
        return known[held]
    if key == "number":
        return float(held)
    if key == "tuple":
        return tuple(_decode(entry, known) for entry in held)
    if key == "dict":
        return {_decode(name, known): _decode(entry, known) for name, entry in held}
    found = getattr(torch, held)
    if not isinstance(found, _KINDS[key]):
        raise ValueError(f"{held!r} is no {key}")
    return found
