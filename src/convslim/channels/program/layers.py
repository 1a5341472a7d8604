"""The modules of a program: the user's module tree with PyTorch's own layers and otherwise empty modules.

A program (see :mod:`convslim.channels.program`) computes with a graph of operations, but its tensors, training flags
and layers stand under the names that they have in the user's class: optimizers, checkpoints, criteria and hooks find
what they found before. Layers of PyTorch itself keep their class and are called by the graph as they are; modules of
any other class are left with their children and tensors, and without code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from convslim.errors import ArtifactError

CONSTANTS = "_constants"
_CONV = "in_channels out_channels kernel_size stride padding dilation groups padding_mode"
_TRANSPOSED = "in_channels out_channels kernel_size stride padding output_padding groups dilation padding_mode"
_NORM = "num_features eps momentum affine track_running_stats"

# Constructor arguments by class; the tensors are put in afterwards.
LAYERS: dict[str, str] = {
    **dict.fromkeys(("Conv1d", "Conv2d", "Conv3d"), _CONV),
    **dict.fromkeys(("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"), _TRANSPOSED),
    **dict.fromkeys(("BatchNorm1d", "BatchNorm2d", "BatchNorm3d"), _NORM),
    **dict.fromkeys(("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"), _NORM),
    "Linear": "in_features out_features",
    "GroupNorm": "num_groups num_channels eps affine",
    "LayerNorm": "normalized_shape eps elementwise_affine",
    **dict.fromkeys(("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"), "p"),
}

Description = dict[str, Any]


def kind_of(module: nn.Module) -> str:
    """The layer of PyTorch that a module is or derives from; empty for others, and where its weight is computed."""
    if is_parametrized(module):
        return ""
    for base in type(module).__mro__:
        if base.__name__ in LAYERS and base is getattr(nn, base.__name__):
            return base.__name__
    return ""


def describe_modules(model: nn.Module) -> dict[str, Description]:
    """Every module of a model by dotted name, in order, as JSON values: kind, arguments, names of its tensors.

    Shared modules and shared tensors appear once under each of their names; ``like`` names the first one.
    """
    first_module: dict[int, str] = {}
    first_tensor: dict[int, str] = {}
    found: dict[str, Description] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if name.partition(".")[0] == CONSTANTS:
            continue
        like = first_module.setdefault(id(module), name)
        found[name] = {"like": like} if like != name else _describe(name, module, first_tensor)
    return found


def _describe(name: str, module: nn.Module, first_tensor: dict[int, str]) -> Description:
    def entry(leaf: str, tensor: Tensor | None, fact: bool) -> Any:
        if tensor is None:
            return None
        path = f"{name}.{leaf}".lstrip(".")
        like = first_tensor.setdefault(id(tensor), path)
        return fact if like == path else like

    kind = kind_of(module)
    arguments = {key: _plain(getattr(module, key)) for key in LAYERS.get(kind, "").split()}
    unsaved = module._non_persistent_buffers_set
    return {
        "kind": kind,
        "arguments": arguments,
        "training": module.training,
        "parameters": {k: entry(k, p, p is not None and p.requires_grad) for k, p in module._parameters.items()},
        "buffers": {key: entry(key, buffer, key not in unsaved) for key, buffer in module._buffers.items()},
    }


def _plain(value: Any) -> Any:
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def build_modules(modules: Mapping[str, Description], tensors: Mapping[str, Tensor]) -> nn.Module:
    """The tree that :func:`describe_modules` described, over given tensors.

    Args:
        modules: Descriptions by dotted name, parents first.
        tensors: Tensor by dotted name; shared ones under their first name.

    Raises:
        ArtifactError: If a description names an unknown layer or module, or a tensor is missing.
    """
    built: dict[str, nn.Module] = {}
    for name, description in modules.items():
        if "like" in description:
            module = built[_known(str(description["like"]), built)]
        else:
            module = _build(name, description, tensors)
        built[name] = module
        if name:
            owner, _, leaf = name.rpartition(".")
            built[_known(owner, built)].add_module(leaf, module)
    return built[_known("", built)]


def _known(name: str, built: Mapping[str, nn.Module]) -> str:
    if name not in built:
        raise ArtifactError(f"The saved graph has no module {name!r}, which others need; save the model again.")
    return name


def _build(name: str, description: Description, tensors: Mapping[str, Tensor]) -> nn.Module:
    module = _layer(description["kind"], description["arguments"]) if description["kind"] else nn.Module()
    module._parameters.clear()
    module._buffers.clear()
    module._non_persistent_buffers_set.clear()
    for leaf, fact in description["parameters"].items():
        tensor = _tensor(name, leaf, fact, tensors)
        if tensor is not None and not isinstance(tensor, nn.Parameter):
            tensor = nn.Parameter(tensor, requires_grad=bool(fact))
        module.register_parameter(leaf, tensor)
    for leaf, fact in description["buffers"].items():
        module.register_buffer(leaf, _tensor(name, leaf, fact, tensors), persistent=fact is not False)
    module.training = bool(description["training"])
    return module


def _tensor(owner: str, leaf: str, fact: Any, tensors: Mapping[str, Tensor]) -> Any:
    if fact is None:
        return None
    path = fact if isinstance(fact, str) else f"{owner}.{leaf}".lstrip(".")
    if path not in tensors:
        raise ArtifactError(f"The tensor {path!r} of the graph is missing; give the model or folder it was made from.")
    return tensors[path]


def _layer(kind: str, arguments: Mapping[str, Any]) -> nn.Module:
    if kind not in LAYERS or set(arguments) != set(LAYERS[kind].split()):
        raise ArtifactError(
            f"The saved graph has a layer {kind!r} with arguments {sorted(arguments)}, which no graph of convslim has; "
            "copy the whole folder again or save the model again."
        )
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
    try:
        # Its tensors are replaced by the right ones, so it gets none of its own.
        with torch.device("meta"):
            layer: nn.Module = getattr(nn, kind)(**given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArtifactError(f"The saved graph has a {kind} with arguments {arguments}: {error}.") from error
    return layer
