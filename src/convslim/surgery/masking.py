"""Running a model operation by operation, with the removed channels set to zero wherever a layer reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from convslim.channels.labels import Vector
from convslim.channels.probe import Evidence
from convslim.channels.tape import ExampleInput, as_arguments
from convslim.channels.undisturbed import undisturbed
from convslim.errors import VerificationError

See = Callable[[int, list[Tensor]], None]


class Watching(TorchDispatchMode):
    """Shows the results of every operation, numbered from 0; `prepare` sees, and may change, what goes into it."""

    def __init__(self, see: See | None = None) -> None:
        super().__init__()
        self._see = see
        self.index = -1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.index += 1
        args, kwargs = self.prepare(func, args, kwargs or {})
        result = func(*args, **kwargs)
        if self._see is not None:
            self._see(self.index, [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)])
        return result

    def prepare(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Arguments to call the operation with."""
        return args, kwargs


class _Masking(Watching):
    """Sets removed channels to zero in the tensors that mixing operations read."""

    def __init__(self, evidence: Evidence, stays: np.ndarray, see: See | None) -> None:
        super().__init__(see)
        self._calls = evidence.tape.calls
        self._reads = evidence.labeler.reads
        self._stays = stays

    def prepare(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        expected = self._calls[self.index].func if self.index < len(self._calls) else "its end"
        if func is not expected:
            raise VerificationError(
                f"The model runs other operations than at its trace: {func} instead of {expected} at operation "
                f"{self.index}. Nothing can be compared with a model that changes from run to run."
            )
        for position, dim, labels in self._reads.get(self.index, ()):
            removed = np.flatnonzero(~self._stays[labels])
            if len(removed):
                args, kwargs = _replace_tensor(args, kwargs, position, dim, removed)
        return args, kwargs


def _replace_tensor(args: Any, kwargs: Any, position: int, dim: int, removed: Vector) -> tuple[Any, Any]:
    leaves, spec = tree_flatten((tuple(args), kwargs))
    place = [number for number, leaf in enumerate(leaves) if isinstance(leaf, Tensor)][position]
    index = torch.as_tensor(removed, device=leaves[place].device)
    leaves[place] = leaves[place].index_fill(dim, index, 0)
    replaced: tuple[Any, Any] = tree_unflatten(leaves, spec)
    return replaced


def run_under(mode: Watching, model: nn.Module, example_input: ExampleInput) -> Any:
    """The model's output, run under a mode and left as it was."""
    args, kwargs = as_arguments(example_input)
    with undisturbed(model), mode:
        return model(*args, **kwargs)


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
