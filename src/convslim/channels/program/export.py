"""From a user's model to a program, by ``torch.export``."""

from __future__ import annotations

import contextlib
import inspect
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.graph import CodeGen
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from convslim.channels.program.assemble import Program, assemble, encode_constants
from convslim.channels.program.calls import call_layers_
from convslim.channels.program.layers import CONSTANTS, describe_modules
from convslim.channels.program.rewrite import (
    computed_views_,
    drop_assertions_,
    drop_unused_,
    free_devices_,
    packet,
    place,
    plain_constants_,
    positions_from_front_,
    sizes_as_methods_,
    source,
    splits_by_sizes_,
    write_scales_,
)
from convslim.channels.program.text import encode
from convslim.channels.program.training import follow_training_, training_notes, training_twins
from convslim.channels.tape import ExampleInput, as_arguments, named_tensors, output_tensors
from convslim.channels.undisturbed import undisturbed
from convslim.errors import ConvslimError, ExportError

TOLERANCE = 1e-5

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class _Attempt:
    """Which dimensions of the input stay free, and the note if they are fewer than usual."""

    batch: bool
    space: bool
    note: str = ""


_FREE = _Attempt(True, True)
_CLASS_FIXES_SPACE = _Attempt(True, False)
_FIXED_SPACE = _Attempt(True, False, "The graph runs at the example input's height and width only.")
_FIXED = _Attempt(False, False, "The graph runs at the example input's shape only, batch included.")
MAX_VIEWS = 8  # with more regrouping of positions (windows, tokens), symbolic heights and widths take minutes
MAX_PADS = 4  # the same for paddings that are computed from the size, one from the other


def export_program(model: nn.Module, example_input: ExampleInput) -> Program:
    """Write down what a model does in evaluation mode, as data that :func:`assemble` makes a ``GraphModule`` of.

    Tensors and modules keep their names. Batch size, height and width stay free where PyTorch can keep them so.
    Training flags of normalization and dropout follow the modules; what else a class does in training mode only is
    left out and noted. The result is run against the model before it is returned.

    Args:
        model: Left as it is.
        example_input: As for :func:`convslim.trace`, tensors only.

    Raises:
        ExportError: If ``torch.export`` cannot follow the model, or the graph does not compute what the model does.

    References:
        Reed et al., torch.fx: Practical Program Capture and Transformation for Deep Learning in Python, MLSys 2022.
    """
    args, kwargs = as_arguments(example_input)
    if not all(isinstance(value, Tensor) for value in (*args, *kwargs.values())):
        raise ExportError(
            f"{type(model).__name__} takes inputs that are not plain tensors; a graph can be made of models whose "
            "inputs are tensors, by position or by name."
        )
    training, notes = _training_graph(model, (args, kwargs))
    failure = ""
    for attempt in _attempts(model, (args, kwargs), training):
        try:
            return _export(model, (args, kwargs), attempt, training, notes)
        except Exception as error:  # causes of every kind, from the model's code and from torch.export's
            failure = failure or _short(error)
    raise ExportError(
        f"{type(model).__name__} cannot be written as a graph: {failure} Code that depends on values is the usual "
        "cause; torch.export.export on the model shows where."
    )


def _training_graph(model: nn.Module, given: Arguments) -> tuple[fx.Graph | None, list[str]]:
    """What the class does in training mode, at fixed sizes: it only tells flags, and what else differs."""
    try:
        return _graph(model, _doubled(given), _FIXED, training=True)[0], []
    except Exception as error:  # as above; evaluation mode can still be written
        return None, [f"Training mode could not be followed ({_short(error)}); layers of PyTorch follow it."]


def _attempts(model: nn.Module, given: Arguments, training: fx.Graph | None) -> tuple[_Attempt, ...]:
    """What may stay free, the most first."""
    if not _takes_larger(model, given):
        return _CLASS_FIXES_SPACE, _FIXED
    nodes = [] if training is None else [packet(node) for node in training.nodes]
    views = sum(name in ("view", "reshape") for name in nodes)
    pads = sum(name in ("pad", "constant_pad_nd") for name in nodes)
    return (_FIXED_SPACE, _FIXED) if views > MAX_VIEWS or pads > MAX_PADS else (_FREE, _FIXED_SPACE, _FIXED)


def _takes_larger(model: nn.Module, given: Arguments) -> bool:
    """False if the model itself runs at one size only, as those with position embeddings do."""
    args, kwargs = tree_map_only(Tensor, _larger, given)
    with undisturbed(model):
        try:
            model(*args, **kwargs)
        except Exception:
            return False
    return True


def _short(error: Exception) -> str:
    if isinstance(error, ConvslimError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    return f"{type(error).__name__}: {lines[0][:200].rstrip('.')}."


def _export(
    model: nn.Module, given: Arguments, attempt: _Attempt, training: fx.Graph | None, notes: Sequence[str]
) -> Program:
    inputs = _doubled(given) if attempt.batch else given
    graph, constants = _graph(model, inputs, attempt, training=False)
    twins = training_twins(graph, training)
    notes = [*filter(None, [attempt.note]), *notes, *training_notes(graph, training, twins)]
    _rewrite_(graph, model, twins)
    program = Program(
        kind=type(model).__name__,
        modules=describe_modules(model),
        nodes=encode(graph),
        constants=encode_constants(constants),
        notes=tuple(notes),
    )
    _check(model, program, given, attempt)
    return program


def _doubled(given: Arguments) -> Arguments:
    """A batch of one would be taken for a constant."""
    doubled: Arguments = tree_map_only(Tensor, lambda t: torch.cat([t, t]) if t.dim() and len(t) == 1 else t, given)
    return doubled


def _graph(
    model: nn.Module, inputs: Arguments, attempt: _Attempt, training: bool
) -> tuple[fx.Graph, dict[str, Tensor]]:
    """The exported graph with the model's own names, and its constants by name."""
    named = inspect.signature(model.forward).bind(*inputs[0], **inputs[1]).arguments
    free = {name: tree_map_only(Tensor, lambda tensor: _free_dims(tensor, attempt), named[name]) for name in named}
    with _quiet(), undisturbed(model, training):
        exported = torch.export.export(model, inputs[0], inputs[1], dynamic_shapes=free, strict=False)
        module = exported.module(check_guards=False)
    assert isinstance(module, fx.GraphModule), "torch.export gives a GraphModule"
    graph = module.graph
    output = next(iter(reversed(graph.nodes)))
    structure = graph._codegen.pytree_info.out_spec  # type: ignore[attr-defined]
    output.args = (_plain_output(tree_unflatten(list(tree_flatten(output.args[0])[0]), structure), model),)
    graph.set_codegen(CodeGen())
    drop_assertions_(graph)
    return graph, _name_constants_(module, model)


def _free_dims(tensor: Tensor, attempt: _Attempt) -> dict[int, Any]:
    free = [0] if attempt.batch and tensor.dim() else []
    free += range(2, tensor.dim()) if attempt.space and tensor.dim() > 3 else []
    return dict.fromkeys(free, torch.export.Dim.AUTO)


def _plain_output(value: Any, model: nn.Module) -> Any:
    if isinstance(value, dict):
        return {key: _plain_output(entry, model) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain_output(entry, model) for entry in value)
    if value is None or isinstance(value, fx.Node | bool | int | float | str):
        return value
    raise ExportError(
        f"{type(model).__name__} returns a {type(value).__name__}; a graph returns tensors, lists, dicts."
    )


def _name_constants_(module: fx.GraphModule, model: nn.Module) -> dict[str, Tensor]:
    """Tensors that are none of the model's parameters and buffers get a place of their own."""
    named = {
        *dict(model.named_parameters(remove_duplicate=False)),
        *dict(model.named_buffers(remove_duplicate=False)),
    }
    constants: dict[str, Tensor] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr" and node.target not in named:
            value: Any = module
            for part in node.target.split("."):
                value = getattr(value, part)
            if isinstance(value, Tensor):
                constants[f"c{len(constants)}"] = value.detach()
                node.target = f"{CONSTANTS}.c{len(constants) - 1}"
    return constants


def _rewrite_(graph: fx.Graph, model: nn.Module, twins: dict[fx.Node, fx.Node]) -> None:
    plain_constants_(graph)
    splits_by_sizes_(graph)
    positions_from_front_(graph)
    write_scales_(graph)
    call_layers_(graph, model, twins)
    follow_training_(graph, {node: twin for node, twin in twins.items() if node.users})
    sizes_as_methods_(graph)
    computed_views_(graph)
    free_devices_(graph)
    drop_unused_(graph)
    for node in graph.nodes:
        path, kind = place(node)
        node.meta = {"module": path, "kind": kind, "source": source(node)}


def _check(model: nn.Module, program: Program, given: Arguments, attempt: _Attempt) -> None:
    """The graph must give what the model gives, at every size that it claims to take."""
    built = assemble(program, named_tensors(model))
    sizes = [given, *([_repeated(given, 1), _repeated(given, 3)] if attempt.batch else [])]
    if attempt.space:
        sizes.append(tree_map_only(Tensor, _larger, given))
    for number, (args, kwargs) in enumerate(sizes):
        with undisturbed(model):
            try:
                expected = output_tensors(model(*args, **kwargs))
            except Exception:
                if number == 0:
                    raise
                continue  # a size that the model itself does not take
        with undisturbed(built):
            # Not called as a module: that would print the generated code of a graph that fails.
            found = output_tensors(built.forward(*args, **kwargs))
        if not _agree(expected, found):
            raise ExportError("The graph that torch.export gives does not compute what the model does.")


def _repeated(given: Arguments, batch: int) -> Arguments:
    def rows(tensor: Tensor) -> Tensor:
        return torch.cat([tensor, tensor * 0.5, tensor * 2])[:batch] if tensor.is_floating_point() else tensor

    repeated: Arguments = tree_map_only(Tensor, lambda tensor: rows(tensor) if tensor.dim() else tensor, given)
    return repeated


def _larger(tensor: Tensor) -> Tensor:
    if tensor.dim() < 4 or not tensor.is_floating_point():
        return tensor
    return torch.nn.functional.pad(tensor, [16, 16] * (tensor.dim() - 2))


def _agree(expected: list[Tensor], found: list[Tensor]) -> bool:
    if [tensor.shape for tensor in expected] != [tensor.shape for tensor in found]:
        return False
    return all(_close(left, right) for left, right in zip(expected, found, strict=True))


def _close(expected: Tensor, found: Tensor) -> bool:
    if not expected.is_floating_point() or not expected.numel():
        return torch.equal(expected, found)
    finite = expected[expected.isfinite()].abs()
    largest = float(finite.max()) if finite.numel() else 0.0
    return torch.allclose(expected.double(), found.double(), rtol=0, atol=TOLERANCE * largest, equal_nan=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Warnings and log lines of the exporter speak of its insides."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)
