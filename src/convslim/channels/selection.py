"""Where a model begins to select elements by their values: detections above a threshold, boxes that do not overlap.

How many there are changes with every removal, so nothing behind that place can be compared operation by operation.
What goes in there can: it stands for the model's output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Selection:
    """The first operation that selects by values.

    Attributes:
        index: Its place on the tape.
        kept: Operation and place among its results of every tensor that goes in there, or behind.
    """

    index: int
    kept: tuple[tuple[int, int], ...]


class Reached(BaseException):
    """Ends a run at the selection; not an ``Exception``, so that no code of the model takes it for its own."""


class Holding:
    """Holds the tensors that reach a selection, and ends the run there.

    Args:
        selection: The place; None lets the run go on to its end.
    """

    def __init__(self, selection: Selection | None) -> None:
        self._selection = selection
        self._wanted = set(selection.kept) if selection else set()
        self._held: dict[tuple[int, int], Tensor] = {}

    def before(self, index: int) -> None:
        """To be called before every operation.

        Raises:
            Reached: At the selection.
        """
        if self._selection is not None and index >= self._selection.index:
            raise Reached

    def after(self, index: int, results: Sequence[Tensor]) -> None:
        """To be called with every operation's results."""
        if self._wanted:
            places = {(index, place): tensor for place, tensor in enumerate(results)}
            self._held |= {place: places[place] for place in places.keys() & self._wanted}

    @property
    def tensors(self) -> list[Tensor]:
        """What was held, in the selection's order."""
        return [self._held[place] for place in self._selection.kept] if self._selection else []


def selects_by_value(func: Any, args: tuple[Any, ...]) -> bool:
    """True for operations whose number of results depends on values: ``nonzero``, masks as indices, suppression."""
    if func._schema.name == "torchvision::nms":
        return True
    if torch.Tag.dynamic_output_shape not in func.tags:
        return False
    if func._schema.name not in ("aten::index", "aten::index_put", "aten::index_put_"):
        return True
    return any(isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1])
