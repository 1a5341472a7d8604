"""The layers of PyTorch that an exported graph took apart are called as layers again.

A called layer keeps what its class does besides arithmetic: running statistics and their counter, training flags,
hooks, numbers that code may set later (``momentum``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import fx, nn

from convslim.channels.program.layers import kind_of
from convslim.channels.program.rewrite import arguments, packet, place

_AXES = ("1d", "2d", "3d")
_WEIGHTS = ("weight", "bias")
_TENSORS: dict[str, Sequence[str]] = {
    **{f"conv{axes}": _WEIGHTS for axes in _AXES},
    **{f"conv_transpose{axes}": _WEIGHTS for axes in _AXES},
    "linear": _WEIGHTS,
    "batch_norm": ("weight", "bias", "running_mean", "running_var"),
    "layer_norm": _WEIGHTS,
    "group_norm": _WEIGHTS,
}
_DROPOUTS: dict[str, tuple[str, ...]] = {
    "dropout": ("Dropout",),
    "feature_dropout": ("Dropout1d", "Dropout2d", "Dropout3d"),
    "alpha_dropout": ("AlphaDropout",),
    "feature_alpha_dropout": ("FeatureAlphaDropout",),
}


def call_layers_(graph: fx.Graph, model: nn.Module, twins: Mapping[fx.Node, fx.Node]) -> None:
    """Operations that are exactly what a layer of PyTorch does with its own tensors and numbers call that layer."""
    modules = dict(model.named_modules(remove_duplicate=False))
    for node in list(graph.nodes):
        path = _layer_path(node, modules)
        if path is None or not _follows(node, twins):
            continue
        with graph.inserting_before(node):
            call = graph.create_node("call_module", path, (node.args[0],), name=path.replace(".", "_"))
        call.meta = dict(node.meta)
        node.replace_all_uses_with(call)
        graph.erase_node(node)


def _follows(node: fx.Node, twins: Mapping[fx.Node, fx.Node]) -> bool:
    """False if the operation has a training flag that training mode does not turn on: a frozen layer's."""
    flags = [name for name in ("training", "train") if name in arguments(node)]
    twin = twins.get(node)
    return not flags or not twins or (twin is not None and arguments(twin)[flags[0]] is True)


def _layer_path(node: fx.Node, modules: Mapping[str, nn.Module]) -> str | None:
    """The layer whose forward the node is, or None."""
    name = packet(node)
    if name in _DROPOUTS:
        own = place(node)[0]
        fits = kind_of(modules[own]) in _DROPOUTS[name] and arguments(node)["p"] == modules[own].p
        return own if fits else None
    if name not in _TENSORS or not node.args:
        return None
    named = arguments(node)
    owners = {_owner(named[key], key) for key in _TENSORS[name] if named[key] is not None}
    path = next(iter(owners), None)
    if len(owners) != 1 or not path or path not in modules:
        return None
    module = modules[path]
    present = all((getattr(module, key, None) is None) == (named[key] is None) for key in _TENSORS[name])
    expected = _numbers(name, module) if present and kind_of(module) else None
    fits = expected is not None and all(_same(named[key], value) for key, value in expected.items())
    return path if fits else None


def _owner(value: Any, leaf: str) -> str:
    if not isinstance(value, fx.Node) or value.op != "get_attr":
        return ""
    owner, _, own = str(value.target).rpartition(".")
    return owner if own == leaf else ""


def _same(given: Any, expected: Any) -> bool:
    """Numbers of the operation and of the layer, one for all dimensions or one for each."""
    if not isinstance(expected, tuple):
        return bool(given == expected)
    return isinstance(given, list | tuple) and list(given) * (len(expected) // len(given)) == list(expected)


def _numbers(name: str, module: nn.Module) -> dict[str, Any] | None:
    """What the operation's other arguments are if the layer calls it; None for a layer of another kind."""
    kind = kind_of(module)
    shape: Any = getattr(module, "normalized_shape", ())
    if name.startswith("conv"):
        spatial = name.removeprefix("conv_transpose").removeprefix("conv")
        transposed = "Transpose" if "transpose" in name else ""
        if kind != f"Conv{transposed}{spatial}" or module.padding_mode != "zeros" or isinstance(module.padding, str):
            return None
        keys = ("stride", "padding", "dilation", "groups", *(("output_padding",) if transposed else ()))
        return {key: getattr(module, key) for key in keys}
    if name == "batch_norm" and kind.startswith("BatchNorm"):
        uses_batch = module.running_mean is None
        return {"momentum": module.momentum or 0.0, "eps": module.eps, "training": uses_batch}
    if name == "layer_norm" and kind == "LayerNorm":
        return {"normalized_shape": tuple(shape), "eps": module.eps}
    if name == "group_norm" and kind == "GroupNorm":
        return {"num_groups": module.num_groups, "eps": module.eps}
    return {} if (name, kind) == ("linear", "Linear") else None
