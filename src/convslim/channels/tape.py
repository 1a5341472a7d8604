"""One forward pass as a list of ATen operations.

The tape holds no tensors: every tensor is a number with a shape. What the operations mean for channels is decided
afterwards by the rules, as often as necessary, without running the model again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map_only

from convslim.channels.selection import Selection
from convslim.errors import ModelError

ExampleInput = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]

_PLAIN = {int, float, bool, str, type(None)}


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor of the recorded pass: a number, its shape, and the model tensor's name if it is one."""

    id: int
    shape: tuple[int, ...]
    name: str = ""


@dataclass(frozen=True)
class OpCall:
    """One ATen operation of the recorded pass.

    Attributes:
        index: Place on the tape.
        func: The operator overload.
        args, kwargs: As called, tensors replaced by :class:`TensorRef`.
        outs: The tensors it returned, flat.
        module: Dotted name of the innermost module whose code called it.
        module_kind: That module's class name.
        source: ``file.py:12`` of the innermost code outside PyTorch.
        through_view: True if it wrote in place into a tensor that shares memory with another live one.
        node: Name of the program's node that called it; empty for models of a user's class.
        literal: Values of a small tensor that the code made of numbers of its own (``torch.tensor(...)``).
    """

    index: int
    func: torch._ops.OpOverload
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outs: tuple[TensorRef, ...]
    module: str
    module_kind: str
    source: str
    through_view: bool
    node: str = ""
    literal: tuple[Any, ...] = ()

    @cached_property
    def name(self) -> str:
        """Operation without overload and in-place mark, ``add`` for ``aten.add_.Tensor``; foreign ones keep theirs."""
        namespace, _, base = self.func._schema.name.partition("::")
        if namespace != "aten":
            return self.func._schema.name
        return base[:-1] if base.endswith("_") and not base.endswith("__") else base

    @cached_property
    def title(self) -> str:
        """The operation as a user would search for it: ``aten.add_.Tensor``."""
        return str(self.func)

    @cached_property
    def bound(self) -> dict[str, Any]:
        """Every argument by its schema name, defaults included."""
        named: dict[str, Any] = {}
        for position, argument in enumerate(self.func._schema.arguments):
            if position < len(self.args):
                named[argument.name] = self.args[position]
            else:
                default = argument.default_value if argument.has_default_value() else None
                named[argument.name] = self.kwargs.get(argument.name, default)
        return named

    def __getitem__(self, name: str) -> Any:
        return self.bound[name]

    @cached_property
    def inputs(self) -> tuple[TensorRef, ...]:
        """The tensors among the arguments, in order."""
        found: list[Any] = []
        replaced((self.args, self.kwargs), TensorRef, found.append)
        return tuple(found)


@dataclass(frozen=True)
class NodeCall:
    """One node of a program that called ATen.

    Attributes:
        name: The node.
        operation: The operation as the graph has it, ``aten.split_with_sizes``; it may run as several others.
        written: Its arguments by schema name as the graph has them: numbers, or nodes that compute them.
        args: The same as called, tensors replaced by :class:`TensorRef`.
        outs: The tensors it returned.
    """

    name: str
    operation: str
    written: Mapping[str, Any]
    args: Mapping[str, Any]
    outs: tuple[TensorRef, ...]


@dataclass(frozen=True)
class Tape:
    """A recorded forward pass.

    Attributes:
        calls: The operations in order.
        model_inputs: Refs of the example input's tensors.
        outputs: Refs of all tensors in the model's output.
        result: The output itself, for comparing numbers.
        error: The exception that ended the pass early, or None.
        nodes: Of a program, its nodes that called ATen.
        selection: Where the model begins to select elements by their values; nothing behind is compared.
    """

    calls: tuple[OpCall, ...]
    model_inputs: tuple[TensorRef, ...]
    outputs: tuple[TensorRef, ...]
    result: Any
    error: Exception | None = None
    nodes: tuple[NodeCall, ...] = ()
    selection: Selection | None = None

    @property
    def compared(self) -> int:
        """Number of operations that another run can be compared with."""
        return self.selection.index if self.selection else len(self.calls)


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters, then buffers, by dotted name; a shared tensor under its first name."""
    parameters: dict[str, Tensor] = {}
    buffers: dict[str, Tensor] = {}
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        for held, found in ((module._parameters, parameters), (module._buffers, buffers)):
            for name, tensor in held.items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    found[f"{prefix}.{name}" if prefix else name] = tensor
    return parameters | buffers


def _ordinary(tensor: Tensor) -> Tensor:
    with torch.inference_mode(False):
        return tensor.clone() if tensor.is_inference() else tensor


def as_arguments(example_input: ExampleInput) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments for ``model(...)``; tensors made in inference mode become ordinary ones."""
    example_input = tree_map_only(Tensor, _ordinary, example_input)
    if isinstance(example_input, Tensor):
        return (example_input,), {}
    if isinstance(example_input, Mapping):
        return (), dict(example_input)
    if isinstance(example_input, tuple | list):
        return tuple(example_input), {}
    raise ModelError(
        f"example_input is a {type(example_input).__name__}; "
        "give a tensor, a tuple of positional arguments, or a dict of keyword arguments."
    )


def output_tensors(result: Any) -> list[Tensor]:
    """All tensors in a model's output, whatever its nesting; dataclass-like outputs by their fields."""
    leaves: list[Tensor] = []
    for leaf in tree_flatten(result)[0]:
        if isinstance(leaf, Tensor):
            leaves.append(leaf)
        elif hasattr(leaf, "__dict__"):
            leaves += [value for value in tree_flatten(dict(vars(leaf)))[0] if isinstance(value, Tensor)]
    return leaves


def replaced(arguments: Any, kind: type, by: Callable[[Any], Any]) -> Any:
    """Arguments of an operation (nested tuples, lists and dicts) with every ``kind`` replaced by ``by(it)``."""
    if isinstance(arguments, kind):
        return by(arguments)
    if isinstance(arguments, (list, tuple)):
        return type(arguments)([entry if type(entry) in _PLAIN else replaced(entry, kind, by) for entry in arguments])
    if isinstance(arguments, dict) and arguments:
        return {key: replaced(entry, kind, by) for key, entry in arguments.items()}
    return arguments
