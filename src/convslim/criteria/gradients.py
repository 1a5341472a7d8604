"""Gradients of a loss, taken so that the model does not notice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from convslim.channels.tape import as_arguments
from convslim.channels.undisturbed import undisturbed
from convslim.errors import ModelError

Loss = Callable[[Any, Any], Tensor]
"""``loss(outputs, targets) -> scalar``."""


def gradients(model: nn.Module, batches: Iterable[tuple[Any, Any]], loss: Loss) -> Iterator[Mapping[str, Tensor]]:
    """Gradients of the loss by parameter name, one mapping per batch, in evaluation mode.

    Parameters that the loss does not reach have zeros; frozen ones get gradients too. The ``grad`` fields are neither
    read nor written, and flags are put back.

    Raises:
        ModelError: If the model or the loss fails on a batch, or cannot be differentiated.
    """
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.is_floating_point()}
    for number, (inputs, targets) in enumerate(batches):
        args, kwargs = as_arguments(inputs)
        try:
            with undisturbed(model), torch.enable_grad(), _unfrozen(list(parameters.values())):
                value = loss(model(*args, **kwargs), targets)
                found = torch.autograd.grad(value, list(parameters.values()), materialize_grads=True)
        except Exception as error:
            raise ModelError(
                f"{type(model).__name__} gives no gradients on batch {number}: {type(error).__name__}: {error}. "
                "A batch is a pair (inputs, targets), and loss(outputs, targets) a differentiable scalar; "
                "criteria such as 'l1' need neither."
            ) from error
        yield dict(zip(parameters, found, strict=True))


@contextmanager
def _unfrozen(parameters: list[nn.Parameter]) -> Iterator[None]:
    flags = [parameter.requires_grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, flag in zip(parameters, flags, strict=True):
            parameter.requires_grad_(flag)
