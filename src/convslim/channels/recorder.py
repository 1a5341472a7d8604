"""Running a model once and writing down every operation, with the model left as it was found."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from convslim.channels.program.assemble import is_program
from convslim.channels.program.rewrite import arguments
from convslim.channels.program.stepping import Stepping
from convslim.channels.selection import Holding, Reached, Selection, selects_by_value
from convslim.channels.tape import (
    ExampleInput,
    NodeCall,
    OpCall,
    Tape,
    TensorRef,
    as_arguments,
    named_tensors,
    output_tensors,
    replaced,
)
from convslim.channels.undisturbed import undisturbed

MAX_LITERAL = 64  # values; longer ones are tables, whose size tells if they count channels
_SKIPPED_SOURCES = f"{Path(torch.__file__).parent}{os.sep}"


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
    def __init__(self, model: nn.Module, until: Selection | None) -> None:
        super().__init__()
        self.calls: list[OpCall] = []
        self.holding = Holding(until)
        self.selection = -1
        self._moving: set[int] = set()
        self.nodes: list[NodeCall] = []
        self.stepping = Stepping(model, self._note) if is_program(model) else None
        self.known = _Known()
        self._modules = {id(module): (name, type(module).__name__) for name, module in model.named_modules()}
        for name, tensor in named_tensors(model).items():
            self.known.renew(tensor, name)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.holding.before(len(self.calls))
        kwargs = kwargs or {}
        given: set[int] = set()

        def refer(tensor: Tensor) -> TensorRef:
            given.add(id(tensor))
            return self.known.get(tensor)

        ref_args, ref_kwargs = replaced(tuple(args), Tensor, refer), replaced(kwargs, Tensor, refer)
        result = func(*args, **kwargs)
        outs, writes_view = [], False
        leaves = [result] if isinstance(result, Tensor) else _tensors_in(result)
        self.holding.after(len(self.calls), leaves)
        for leaf in leaves:
            if id(leaf) in given:
                if not func._schema.is_mutable:
                    outs.append(self.known.get(leaf))
                    continue
                writes_view = writes_view or self.known.shares_memory(leaf)
            outs.append(self.known.renew(leaf))
        running = self.stepping.running if self.stepping else None
        place = (running.module, running.kind, running.source) if running else _place(self._modules)
        node = running.node if running else ""
        literal = _literal(result) if func is torch.ops.aten.lift_fresh.default else ()
        self.calls.append(
            OpCall(len(self.calls), func, ref_args, ref_kwargs, tuple(outs), *place, writes_view, node, literal)
        )
        self._follow(self.calls[-1], args)
        return result

    def start(self, inputs: Iterable[TensorRef]) -> None:
        """What depends on these tensors differs from input to input."""
        self._moving |= {ref.id for ref in inputs}

    def _follow(self, call: OpCall, args: tuple[Any, ...]) -> None:
        if any(ref.id in self._moving for ref in call.inputs):
            self._moving |= {ref.id for ref in call.outs}
            if self.selection < 0 and selects_by_value(call.func, args):
                self.selection = call.index

    def found_selection(self, outputs: Iterable[TensorRef]) -> Selection | None:
        """The first selection by values, with what goes in there."""
        if self.selection < 0:
            return None
        made: dict[int, tuple[int, int]] = {}
        for call in self.calls[: self.selection]:
            for place, ref in enumerate(call.outs):
                if ref.id in self._moving:
                    made.setdefault(ref.id, (call.index, place))
        behind = [ref for call in self.calls[self.selection :] for ref in call.inputs]
        return Selection(self.selection, tuple(dict.fromkeys(made[r.id] for r in (*behind, *outputs) if r.id in made)))

    def _note(self, node: fx.Node, args: Mapping[str, Any], result: Any) -> None:
        operation = str(node.target).rpartition(".")[0]
        outs = tuple(self.known.get(leaf) for leaf in _tensors_in([result]))
        self.nodes.append(NodeCall(node.name, operation, arguments(node), replaced(args, Tensor, self.known.get), outs))


def _literal(tensor: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.flatten().tolist()) if tensor.numel() <= MAX_LITERAL else ()


def _tensors_in(result: Any) -> list[Tensor]:
    found: list[Tensor] = []
    replaced(result, Tensor, found.append)
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


def record(
    model: nn.Module, example_input: ExampleInput, *, training: bool = False, until: Selection | None = None
) -> Tape:
    """Run the model once and write down every operation. An exception of the model ends the tape, see ``error``.

    With ``until`` the run ends at that selection, and what reaches it is the output.
    """
    args, kwargs = as_arguments(example_input)
    with undisturbed(model, training):
        recorder = _Recorder(model, until)
        given = tuple(recorder.known.get(leaf) for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor))
        recorder.start(given)
        try:
            with recorder:
                result = (recorder.stepping or model)(*args, **kwargs)
        except Reached:
            result = recorder.holding.tensors
        except Exception as error:
            return Tape(tuple(recorder.calls), given, (), None, error)
        outputs = tuple(recorder.known.get(leaf) for leaf in output_tensors(result))
    selection = recorder.found_selection(outputs)
    return Tape(tuple(recorder.calls), given, outputs, result, nodes=tuple(recorder.nodes), selection=selection)
