"""Running a recorded pass again, one operation at a time, for many batches side by side.

A reconstruction looks at one layer of the network on all calibration images before it goes on to the next one. So every
batch has a replay of its own, which holds the tensors that are alive at the current place of the tape and nothing
else: a tensor is dropped after the last operation that reads it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map_only

from convslim.channels.recorder import record
from convslim.channels.tape import ExampleInput, OpCall, Tape, TensorRef, as_arguments, named_tensors
from convslim.errors import ModelError
from convslim.surgery.masking import Watching, run_under

_VIEWS = ("aten.view.default", "aten._unsafe_view.default")

_STEERING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "_unique2")


@dataclass(frozen=True, eq=False)
class Program:
    """What a network does with inputs of given shapes.

    Attributes:
        tape: The recorded operations.
        constants: Tensors that the operations read and that are neither parameters nor made by another operation.
        dropped: After each operation, numbers of the tensors that nothing reads any more.
        layout: Of the images in memory.
    """

    tape: Tape
    constants: Mapping[int, Tensor]
    dropped: Sequence[Sequence[int]]
    layout: torch.memory_format


def program(model: nn.Module, example_input: ExampleInput) -> Program:
    """Record a network on a batch.

    Raises:
        ModelError: If the network fails on the batch, or its operations depend on the values in it.
    """
    tape = record(model, example_input)
    if tape.error is not None:
        raise ModelError(
            f"{type(model).__name__} fails on a calibration batch: {type(tape.error).__name__}: {tape.error}. "
            "Give batches as the network takes them."
        ) from tape.error
    for call in tape.calls:
        if call.name in _STEERING:
            raise ModelError(
                f"{call.title} in {call.module or 'the model'} ({call.source}) makes the model's operations depend on "
                "the values of its input, so they cannot be run layer by layer. Reconstruct without that branch."
            )
    reader = _Constants(tape)
    run_under(reader, model, example_input)
    return Program(tape, reader.found, dropped(tape), _layout(tape))


class _Constants(Watching):
    """Keeps the tensors that come from nowhere on the tape."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        made = {out.id for call in tape.calls for out in call.outs} | {ref.id for ref in tape.model_inputs}
        self._foreign = [
            [(place, ref) for place, ref in enumerate(call.inputs) if not ref.name and ref.id not in made]
            for call in tape.calls
        ]
        self.found: dict[int, Tensor] = {}

    def prepare(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        if self._foreign[self.index]:
            tensors = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
            for place, ref in self._foreign[self.index]:
                self.found.setdefault(ref.id, tensors[place].clone())
        return args, kwargs


def _layout(tape: Tape) -> torch.memory_format:
    """Channels last, two to three times as fast on a processor, unless an operation looks at how tensors lie."""
    looks = any(call.through_view or call.name in ("as_strided", "set", "resize") for call in tape.calls)
    return torch.preserve_format if looks else torch.channels_last


def dropped(tape: Tape) -> list[list[int]]:
    """After each operation, numbers of the tensors that nothing reads any more."""
    last: dict[int, int] = {}
    for call in tape.calls:
        for ref in (*call.inputs, *call.outs):
            last[ref.id] = call.index
    for ref in tape.outputs:
        last.pop(ref.id, None)
    found: list[list[int]] = [[] for _ in tape.calls]
    for number, index in last.items():
        found[index].append(number)
    return found


class Replay:
    """One batch on its way through a network.

    Attributes:
        place: Index of the next operation.
        tensors: Parameters and buffers by name.
    """

    def __init__(self, program: Program, tensors: Mapping[str, Tensor], example_input: ExampleInput) -> None:
        given = [leaf for leaf in tree_flatten(as_arguments(example_input))[0] if isinstance(leaf, Tensor)]
        self.place = 0
        self._program = program
        self.tensors = tensors
        self._started = False
        self._values = {ref.id: leaf for ref, leaf in zip(program.tape.model_inputs, given, strict=True)}

    @property
    def tape(self) -> Tape:
        """What is replayed."""
        return self._program.tape

    @property
    def calls(self) -> Sequence[OpCall]:
        """The operations of this batch."""
        return self._program.tape.calls

    @property
    def outputs(self) -> list[Tensor]:
        """What the network returned, at the end of the tape."""
        return [self.value(ref) for ref in self._program.tape.outputs]

    def value(self, ref: TensorRef) -> Tensor:
        """A tensor that is alive now, a parameter, or a constant."""
        if ref.name:
            return self.tensors[ref.name]
        found = self._values.get(ref.id)
        return found if found is not None else self._program.constants[ref.id]

    def ahead(self, ref: TensorRef) -> Tensor:
        """A tensor that is alive now or made later; the replay stays where it is."""
        later = [call.index for call in self.calls[self.place :] if any(out.id == ref.id for out in call.outs)]
        if not later:
            return self.value(ref)
        other = self.fork(self.tensors)
        other.advance(later[0] + 1)
        return other.value(ref)

    def put(self, ref: TensorRef, tensor: Tensor) -> None:
        """Set a tensor that is alive now."""
        self._values[ref.id] = tensor

    def fork(self, tensors: Mapping[str, Tensor]) -> Replay:
        """Another replay at the same place, with these parameters from here on."""
        other = copy.copy(self)
        other.tensors, other._values = tensors, dict(self._values)
        return other

    def advance(self, until: int) -> None:
        """Run the operations before index ``until``."""
        if not self._started:
            # Clones: a network may write into its input. Not before: a batch may wait for long.
            self._values = {number: self._cloned(leaf) for number, leaf in self._values.items()}
            self._started = True
        for index in range(self.place, until):
            call = self.calls[index]
            results = [leaf for leaf in tree_flatten(self._called(call))[0] if isinstance(leaf, Tensor)]
            for ref, result in zip(call.outs, results, strict=True):
                self._values[ref.id] = result
            for number in self._program.dropped[index]:
                self._values.pop(number, None)
        self.place = max(self.place, until)

    def result(self, index: int) -> Tensor:
        """What operation ``index``, the next one, gives; the replay stays before it."""
        found: Tensor = self._called(self.calls[index])
        return found

    def _cloned(self, leaf: Tensor) -> Tensor:
        return leaf.clone(memory_format=self._program.layout if leaf.dim() == 4 else torch.preserve_format)

    def _called(self, call: OpCall) -> Any:
        args, kwargs = tree_map_only(TensorRef, self.value, (call.args, dict(call.kwargs)))
        # A view of another layout may need a copy.
        func = torch.ops.aten.reshape.default if call.title in _VIEWS else call.func
        return func(*args, **kwargs)


def replays(model: nn.Module, batches: Iterable[ExampleInput]) -> list[Replay]:
    """A replay for every batch; batches of equal shapes share one recording.

    Raises:
        ModelError: See :func:`program`; also if batches of other shapes run other operations.
    """
    # Detached: the same memory, but nothing here belongs to a gradient of the model's own parameters.
    tensors = {name: tensor.detach() for name, tensor in named_tensors(model).items()}
    programs: dict[Any, Program] = {}
    found = []
    for batch in batches:
        shapes = tuple(tuple(leaf.shape) for leaf in tree_flatten(as_arguments(batch))[0] if isinstance(leaf, Tensor))
        if shapes not in programs:
            programs[shapes] = program(model, batch)
        found.append(Replay(programs[shapes], tensors, batch))
    first = next(iter(programs.values()), None)
    for other in programs.values():
        if first is not None and [c.func for c in other.tape.calls] != [c.func for c in first.tape.calls]:
            raise ModelError(
                f"{type(model).__name__} runs other operations on a batch of another size. "
                "Give calibration batches of one size."
            )
    return found
