"""A program as data, and the ``GraphModule`` that it stands for."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor, fx, nn
from torch.fx.graph_module import _USER_PRESERVED_ATTRIBUTES_KEY

from convslim.channels.program.layers import CONSTANTS, build_modules, describe_modules
from convslim.channels.program.text import decode, encode
from convslim.errors import ArtifactError

FORMAT = 1
_MARK = "convslim"


@dataclass(frozen=True)
class Program:
    """What a model computes, as JSON values; its parameters and buffers are kept apart.

    Attributes:
        kind: Class name of the model that it was made from.
        modules: The module tree, see :func:`convslim.channels.program.layers.describe_modules`.
        nodes: The operations in order, see :func:`convslim.channels.program.text.encode`.
        constants: Tensors that are no parameter and no buffer: dtype, shape and bytes by name.
        notes: What the user should know, for example what training mode leaves out.
    """

    kind: str
    modules: Mapping[str, Any]
    nodes: list[dict[str, Any]]
    constants: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def to_data(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "format": FORMAT,
            "kind": self.kind,
            "modules": dict(self.modules),
            "nodes": self.nodes,
            "constants": dict(self.constants),
            "notes": list(self.notes),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Program:
        """Read :meth:`to_data`'s values.

        Raises:
            ArtifactError: If they are no program.
        """
        try:
            if data["format"] != FORMAT:
                raise ArtifactError(f"The graph has format {data['format']}, this version reads {FORMAT}.")
            modules, constants = dict(data["modules"]), dict(data["constants"])
            notes = tuple(str(note) for note in data["notes"])
            return cls(str(data["kind"]), modules, list(data["nodes"]), constants, notes)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"This is not a saved graph: {type(error).__name__}: {error}.") from error


def is_program(model: nn.Module) -> TypeGuard[fx.GraphModule]:
    """True for what :func:`assemble` builds, and its copies."""
    return isinstance(model, fx.GraphModule) and _MARK in model.meta


def describe(model: nn.Module) -> Program:
    """The program that a ``GraphModule`` of :func:`assemble` runs now."""
    assert isinstance(model, fx.GraphModule), "only programs can be described"
    constants = dict(model.get_submodule(CONSTANTS).named_buffers())
    mark = model.meta[_MARK]
    return Program(
        mark["kind"], describe_modules(model), encode(model.graph), encode_constants(constants), tuple(mark["notes"])
    )


def assemble(program: Program, tensors: Mapping[str, Tensor]) -> fx.GraphModule:
    """Build the ``GraphModule`` of a program over given tensors, which it shares.

    Args:
        program: What to compute.
        tensors: Parameters and buffers by dotted name, for example those of the user's model.

    Raises:
        ArtifactError: If the program is damaged, holds what no program of convslim holds, or a tensor is missing.
    """
    try:
        root = build_modules(program.modules, tensors)
        graph = decode(program.nodes)
        _add_constants_(root, program.constants, tensors)
        _check_targets(root, graph)
        built = fx.GraphModule(root, graph, class_name=program.kind if program.kind.isidentifier() else "GraphModule")
    except (LookupError, TypeError, AttributeError, ValueError, SyntaxError, RuntimeError, AssertionError) as error:
        raise ArtifactError(f"The saved graph is damaged: {type(error).__name__}: {error}. Save it again.") from error
    # GraphModule takes over only what its nodes name; here every tensor and module of the class stays.
    built._modules, built._parameters = root._modules, root._parameters
    built._buffers, built._non_persistent_buffers_set = root._buffers, root._non_persistent_buffers_set
    built.training = root.training
    built.graph.lint()
    built.meta[_MARK] = {"kind": program.kind, "notes": list(program.notes)}
    built.meta[_USER_PRESERVED_ATTRIBUTES_KEY] = _aliases(root)
    return built


def _check_targets(root: nn.Module, graph: fx.Graph) -> None:
    """Nodes read the modules and tensors of the tree, and no other attribute of them."""
    modules = dict(root.named_modules(remove_duplicate=False))
    tensors = {*dict(root.named_parameters(remove_duplicate=False)), *dict(root.named_buffers(remove_duplicate=False))}
    for node in graph.nodes:
        known = {"call_module": modules.keys(), "get_attr": modules.keys() | tensors}.get(node.op)
        if known is not None and (not node.target or node.target not in known):
            raise ArtifactError(f"The saved graph's node {node.name!r} reads {node.target!r}, which its model lacks.")


def _aliases(root: nn.Module) -> dict[str, Any]:
    """Further names of the root's own modules and parameters, which a copy of a ``GraphModule`` drops otherwise."""
    first: dict[int, str] = {}
    held = [*root._modules.items(), *root._parameters.items()]
    return {name: value for name, value in held if value is not None and first.setdefault(id(value), name) != name}


def _add_constants_(root: nn.Module, constants: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    holder = nn.Module()
    holder.training = root.training
    device = next((tensor.device for tensor in tensors.values()), torch.device("cpu"))
    for name, data in constants.items():
        path = f"{CONSTANTS}.{name}"
        constant = tensors[path] if path in tensors else _decode_constant(data).to(device)
        holder.register_buffer(name, constant, persistent=False)
    root.add_module(CONSTANTS, holder)


def encode_constants(constants: Mapping[str, Tensor]) -> dict[str, Any]:
    """Dtype, shape and bytes (base64) of tensors by name."""
    return {
        name: {
            "dtype": str(constant.dtype).removeprefix("torch."),
            "shape": list(constant.shape),
            "bytes": base64.b64encode(
                constant.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            ).decode(),
        }
        for name, constant in constants.items()
    }


def _decode_constant(data: Mapping[str, Any]) -> Tensor:
    dtype = getattr(torch, data["dtype"])
    shape = [int(size) for size in data["shape"]]
    raw = bytearray(base64.b64decode(data["bytes"], validate=True))
    if not isinstance(dtype, torch.dtype) or math.prod(shape) * dtype.itemsize != len(raw):
        raise ValueError(f"a constant of {data['dtype']} and shape {shape} has {len(raw)} bytes")
    return torch.frombuffer(raw, dtype=dtype).reshape(shape) if raw else torch.empty(shape, dtype=dtype)
