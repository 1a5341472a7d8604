"""Running a model operation by operation, with the removed channels set to zero wherever a layer reads them.

Where an operation takes statistics over channels (normalization), there is nothing to set to zero: the reference takes
them over the kept channels only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from convslim.channels.labels import Vector
from convslim.channels.probe import Evidence
from convslim.channels.selection import Holding, Reached, Selection
from convslim.channels.tape import ExampleInput, as_arguments
from convslim.channels.undisturbed import undisturbed
from convslim.channels.values import Axes
from convslim.errors import VerificationError

See = Callable[[int, list[Tensor]], None]


class Watching(TorchDispatchMode):
    """Shows the results of every operation, numbered from 0; `prepare` sees, and may change, what goes into it."""

    def __init__(self, see: See | None = None, until: Selection | None = None) -> None:
        super().__init__()
        self._see = see
        self.holding = Holding(until)
        self.index = -1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.index += 1
        self.holding.before(self.index)
        args, kwargs = self.prepare(func, args, kwargs or {})
        result = self.carry_out(func, args, kwargs)
        leaves = [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)]
        self.holding.after(self.index, leaves)
        if self._see is not None:
            self._see(self.index, leaves)
        return result

    def prepare(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Arguments to call the operation with."""
        return args, kwargs

    def carry_out(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The operation's result."""
        return func(*args, **kwargs)


class _Masking(Watching):
    """Sets removed channels to zero in the tensors that mixing operations read."""

    def __init__(self, evidence: Evidence, stays: np.ndarray, see: See | None) -> None:
        super().__init__(see, evidence.tape.selection)
        self._calls = evidence.tape.calls
        self._labeler = evidence.labeler
        self._stays = stays

    def prepare(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        expected = self._calls[self.index].func if self.index < len(self._calls) else "its end"
        if func is not expected:
            raise VerificationError(
                f"The model runs other operations than at its trace: {func} instead of {expected} at operation "
                f"{self.index}. Nothing can be compared with a model that changes from run to run."
            )
        for position, dim, labels in self._labeler.reads.get(self.index, ()):
            removed = np.flatnonzero(~self._stays[labels])
            if len(removed):
                args, kwargs = _replace_tensor(args, kwargs, position, dim, removed)
        return args, kwargs

    def carry_out(self, func: Any, args: Any, kwargs: Any) -> Any:
        inputs = self._labeler.renormalized.get(self.index)
        if inputs is None or not any((~self._stays[labels]).any() for axes in inputs for labels in axes.values()):
            return func(*args, **kwargs)
        leaves, spec = tree_flatten((tuple(args), kwargs))
        places = [number for number, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        for place, axes in zip(places, inputs, strict=True):
            leaves[place] = restricted(leaves[place], axes, self._stays)
        args, kwargs = tree_unflatten(leaves, spec)
        result, out_spec = tree_flatten(func(*_resized(func, args), **kwargs))
        values = iter(self._labeler.flows[self.index])
        spread = [
            _spread(leaf, next(values).axes, self._stays) if isinstance(leaf, Tensor) else leaf for leaf in result
        ]
        return tree_unflatten(spread, out_spec)


def restricted(tensor: Tensor, axes: Axes, stays: np.ndarray) -> Tensor:
    """The kept channels of a tensor of the original."""
    for dim, labels in axes.items():
        tensor = tensor.index_select(dim, torch.as_tensor(np.flatnonzero(stays[labels]), device=tensor.device))
    return tensor


def _spread(tensor: Tensor, axes: Axes, stays: np.ndarray) -> Tensor:
    """Kept channels at their places in a tensor of the original's shape, zeros elsewhere."""
    for dim, labels in axes.items():
        shape = [*tensor.shape[:dim], len(labels), *tensor.shape[dim + 1 :]]
        place = torch.as_tensor(np.flatnonzero(stays[labels]), device=tensor.device)
        tensor = tensor.new_zeros(shape).index_copy_(dim, place, tensor)
    return tensor


def _resized(func: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments of a normalization with the sizes that its restricted input has."""
    names = [argument.name for argument in func._schema.arguments]
    sizes = dict(zip(names, args, strict=False))
    if "normalized_shape" in sizes:
        sizes["normalized_shape"] = list(args[0].shape[len(args[0].shape) - len(sizes["normalized_shape"]) :])
    if "C" in sizes and "group" in sizes:
        sizes["C"], sizes["HxW"] = args[0].shape[1], math.prod(args[0].shape[2:])
    return tuple(sizes.values())


def _replace_tensor(args: Any, kwargs: Any, position: int, dim: int, removed: Vector) -> tuple[Any, Any]:
    leaves, spec = tree_flatten((tuple(args), kwargs))
    place = [number for number, leaf in enumerate(leaves) if isinstance(leaf, Tensor)][position]
    index = torch.as_tensor(removed, device=leaves[place].device)
    leaves[place] = leaves[place].index_fill(dim, index, 0)
    replaced: tuple[Any, Any] = tree_unflatten(leaves, spec)
    return replaced


def run_under(mode: Watching, model: nn.Module, example_input: ExampleInput) -> Any:
    """The model's output, run under a mode and left as it was; if the mode ends at a selection, what reaches that."""
    args, kwargs = as_arguments(example_input)
    try:
        with undisturbed(model), mode:
            return model(*args, **kwargs)
    except Reached:
        return mode.holding.tensors


def run_watched(model: nn.Module, example_input: ExampleInput, see: See) -> Any:
    """The model's output; ``see`` is shown the results of every operation."""
    return run_under(Watching(see), model, example_input)


def run_masked(
    model: nn.Module, example_input: ExampleInput, evidence: Evidence, stays: np.ndarray, see: See | None = None
) -> Any:
    """The original's output when every layer reads zeros in place of the removed channels.

    Args:
        model: The original.
        example_input: As for :func:`convslim.trace`.
        evidence: Its recorded pass.
        stays: Mask over labels, True where the channel stays.
        see: Is shown the results of every operation.

    Raises:
        VerificationError: If the model runs other operations than in the recorded pass.
    """
    return run_under(_Masking(evidence, stays, see), model, example_input)
