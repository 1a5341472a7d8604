"""Who looks on while a network trains: what a progress bar says, and what happens when an epoch ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import nn


@dataclass(frozen=True)
class EpochEnd:
    """What an observer makes of an epoch: facts for its metrics, JSON values, and whether the training ends here."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    stop: bool = False


class Observer(Protocol):
    """Sees the network in training, the copy that `fit` moves."""

    def note(self, module: nn.Module) -> str:
        """What the progress bar shows after a step, behind the loss."""
        ...

    def end_epoch_(self, module: nn.Module) -> EpochEnd:
        """After the last step of an epoch, before its evaluation and its checkpoint; may change the network."""
        ...
