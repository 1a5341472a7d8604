"""Recording one forward pass as a list of ATen operations, with the model left as it was found.

The tape holds no tensors: every tensor is a number with a shape. What the operations mean for channels is decided
afterwards by the rules, as often as necessary, without running the model again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

from convslim.channels.program.assemble import is_program
from convslim.channels.program.rewrite import arguments
from convslim.channels.program.stepping import Stepping
from convslim.channels.undisturbed import undisturbed
from convslim.errors import ModelError

ExampleInput = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]

_PLAIN = {int, float, bool, str, type(None)}
_SKIPPED_SOURCES = f"{Path(torch.__file__).parent}{os.sep}"


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
        _replace((self.args, self.kwargs), TensorRef, found.append)
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
    """

    calls: tuple[OpCall, ...]
    model_inputs: tuple[TensorRef, ...]
    outputs: tuple[TensorRef, ...]
    result: Any
    error: Exception | None = None
    nodes: tuple[NodeCall, ...] = ()


class _Known:
    """Refs of the living tensors, by identity, without keeping any of them alive."""

    def __init__(self) -> None:
        self._count = 0
        self._refs: dict[int, tuple[Any, TensorRef]] = {}
        self._mates: dict[int, list[tuple[Any, int]]] = {}

    def get(self, tensor: Tensor) -> TensorRef:
        """The tensor's ref, a new one for a tensor that no operation made."""
        known = self._refs.get(id(tensor))
        return self.renew(tensor) if known is None or known[0].expired() else known[1]

    def renew(self, tensor: Tensor, name: str = "") -> TensorRef:
        """A new ref: the tensor is new, or has new content."""
        self._count += 1
        ref = TensorRef(self._count, tuple(tensor.shape), name)
        alive = torch._C._WeakTensorRef(tensor)  # type: ignore[attr-defined]
        self._refs[id(tensor)] = alive, ref
        if tensor.layout is torch.strided:
            self._mates.setdefault(tensor.untyped_storage()._cdata, []).append((alive, id(tensor)))
        return ref

    def shares_memory(self, tensor: Tensor) -> bool:
        """True if another living tensor shows the same memory."""
        mates = self._mates.get(tensor.untyped_storage()._cdata, ())
        return any(number != id(tensor) and not alive.expired() for alive, number in mates)


class _Recorder(TorchDispatchMode):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.calls: list[OpCall] = []
        self.nodes: list[NodeCall] = []
        self.stepping = Stepping(model, self._note) if is_program(model) else None
        self.known = _Known()
        self._modules = {id(module): (name, type(module).__name__) for name, module in model.named_modules()}
        for name, tensor in named_tensors(model).items():
            self.known.renew(tensor, name)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given: set[int] = set()

        def refer(tensor: Tensor) -> TensorRef:
            given.add(id(tensor))
            return self.known.get(tensor)

        ref_args, ref_kwargs = _replace(tuple(args), Tensor, refer), _replace(kwargs, Tensor, refer)
        result = func(*args, **kwargs)
        outs, writes_view = [], False
        for leaf in (result,) if isinstance(result, Tensor) else _tensors_in(result):
            if id(leaf) in given:
                if not func._schema.is_mutable:
                    outs.append(self.known.get(leaf))
                    continue
                writes_view = writes_view or self.known.shares_memory(leaf)
            outs.append(self.known.renew(leaf))
        running = self.stepping.running if self.stepping else None
        place = (running.module, running.kind, running.source) if running else _place(self._modules)
        node = running.node if running else ""
        self.calls.append(OpCall(len(self.calls), func, ref_args, ref_kwargs, tuple(outs), *place, writes_view, node))
        return result

    def _note(self, node: fx.Node, args: Mapping[str, Any], result: Any) -> None:
        operation = str(node.target).rpartition(".")[0]
        outs = tuple(self.known.get(leaf) for leaf in _tensors_in([result]))
        self.nodes.append(NodeCall(node.name, operation, arguments(node), _replace(args, Tensor, self.known.get), outs))


def _replace(arguments: Any, kind: type, by: Callable[[Any], Any]) -> Any:
    """Arguments of an operation (nested tuples, lists and dicts) with every ``kind`` replaced by ``by(it)``."""
    if isinstance(arguments, kind):
        return by(arguments)
    if isinstance(arguments, (list, tuple)):
        return type(arguments)([entry if type(entry) in _PLAIN else _replace(entry, kind, by) for entry in arguments])
    if isinstance(arguments, dict) and arguments:
        return {key: _replace(entry, kind, by) for key, entry in arguments.items()}
    return arguments


def _tensors_in(result: Any) -> list[Tensor]:
    found: list[Tensor] = []
    _replace(result, Tensor, found.append)
    return found


def _place(modules: Mapping[int, tuple[str, str]]) -> tuple[str, str, str]:
    """Innermost module of the model on the Python stack with its class, and the innermost line outside PyTorch."""
    module: tuple[str, str] | None = None
    source = ""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and (module is None or not source):
        code = frame.f_code
        if code is record.__code__:
            break  # a model of PyTorch's own modules: what called the trace is no part of it
        if not source and not code.co_filename.startswith(_SKIPPED_SOURCES):
            source = f"{code.co_filename.rpartition(os.sep)[2]}:{frame.f_lineno}"
        if module is None and code.co_argcount and code.co_varnames[0] == "self":
            module = modules.get(id(frame.f_locals.get("self")))
        frame = frame.f_back
    return *(module or ("", "")), source


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


def record(model: nn.Module, example_input: ExampleInput, *, training: bool = False) -> Tape:
    """Run the model once and write down every operation. An exception of the model ends the tape, see ``error``."""
    args, kwargs = as_arguments(example_input)
    with undisturbed(model, training):
        recorder = _Recorder(model)
        given = tuple(recorder.known.get(leaf) for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor))
        try:
            with recorder:
                result = (recorder.stepping or model)(*args, **kwargs)
        except Exception as error:
            return Tape(tuple(recorder.calls), given, (), None, error)
        outputs = tuple(recorder.known.get(leaf) for leaf in output_tensors(result))
    return Tape(tuple(recorder.calls), given, outputs, result, nodes=tuple(recorder.nodes))


def output_tensors(result: Any) -> list[Tensor]:
    """All tensors in a model's output, whatever its nesting; dataclass-like outputs by their fields."""
    leaves: list[Tensor] = []
    for leaf in tree_flatten(result)[0]:
        if isinstance(leaf, Tensor):
            leaves.append(leaf)
        elif hasattr(leaf, "__dict__"):
            leaves += [value for value in tree_flatten(dict(vars(leaf)))[0] if isinstance(value, Tensor)]
    return leaves
