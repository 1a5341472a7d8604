"""Gradients of a loss, taken without touching the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from convslim.channels.tape import as_arguments, undisturbed

Loss = Callable[[Any, Any], Tensor]
"""``loss(outputs, targets) -> scalar``."""


def gradients(model: nn.Module, batches: Iterable[tuple[Any, Any]], loss: Loss) -> Iterator[Mapping[str, Tensor]]:
    """Gradients of the loss by parameter name, one mapping per batch, in evaluation mode.

    Parameters that the loss does not reach have zeros. The model is left as found: its parameters are
    replaced by stand-ins that share their memory, so ``grad`` fields stay as they are, and frozen parameters
    get gradients too.
    """
    for inputs, targets in batches:
        leaves = {
            name: parameter.detach().requires_grad_()
            for name, parameter in model.named_parameters()
            if parameter.is_floating_point()
        }
        args, kwargs = as_arguments(inputs)
        with undisturbed(model), torch.enable_grad():
            value = loss(functional_call(model, leaves, args, kwargs), targets)
            found = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
        yield dict(zip(leaves, found, strict=True))
