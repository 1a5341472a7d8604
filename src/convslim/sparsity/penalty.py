"""What a sparsity penalty is: two places in the training step where it may change parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

Parameters = Mapping[str, Tensor]


class Penalty(Protocol):
    """A regularizer R(w) that training applies to parameters; it is given these and the buffers by name.

    A penalty acts on the gradient, on the weights after the optimizer's step, or on both; the part it does
    not use does nothing. It never takes part in back-propagation.
    """

    def value(self, parameters: Parameters) -> float:
        """R(w), for the record."""
        ...

    def apply_gradient_(self, parameters: Parameters) -> None:
        """Change the gradients, after back-propagation and before the optimizer's step."""
        ...

    def apply_proximal_(self, parameters: Parameters, lr: float) -> None:
        """Change the parameters, after an optimizer's step with learning rate `lr`."""
        ...
