"""What a criterion is: a function, and the few facts about it that the caller needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from convslim.channels.graph import ChannelGroup


class ScoreFunction(Protocol):
    """Scores one group of coupled channels."""

    def __call__(
        self, group: ChannelGroup, tensors: Mapping[str, Tensor], gradients: Mapping[str, Tensor] | None, /
    ) -> Tensor | None:
        """Importance of every channel.

        Args:
            group: The group, with the axes at which its channels stand.
            tensors: The model's parameters and buffers by name, not to be changed.
            gradients: Gradients of the loss by parameter name, or None if the criterion does not ask for
                them.

        Returns:
            Shape ``(num_channels,)``, float64, higher = more important; None if nothing can be said of this
            group.
        """
        ...


@dataclass(frozen=True)
class Criterion:
    """A way to tell which channels matter.

    Attributes:
        name: What records and reports call it.
        function: The scores of one group.
        needs_gradients: True if ``function`` reads ``gradients``: :func:`convslim.score` then wants
            ``batches``.
        citation: Who published it, and where.
    """

    name: str
    function: ScoreFunction
    needs_gradients: bool
    citation: str
