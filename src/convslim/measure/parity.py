"""How equal two networks are on the same inputs, without any label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convslim.channels.tape import ExampleInput, as_arguments, output_tensors
from convslim.channels.undisturbed import undisturbed
from convslim.errors import DataError, ModelError


@dataclass(frozen=True)
class Parity:
    """How far a network is from another one.

    Attributes:
        num_images: Inputs that were compared.
        error: ``Σ |f - g|² / Σ |f - mean f|²`` over all outputs, f the first network's; 0 = equal.
        agreement: Share of images on which both have the same highest class, 0…1; None unless both give one score
            per class, ``(N, num_classes)``.
        kl: Mean of ``KL(softmax f ‖ softmax g)`` in nats; None like ``agreement``.
    """

    num_images: int
    error: float
    agreement: float | None
    kl: float | None


def parity(model: nn.Module, other: nn.Module, batches: Iterable[ExampleInput]) -> Parity:
    """Compare two networks in evaluation mode; both are left as found.

    Raises:
        DataError: If there is no batch.
        ModelError: If their outputs have different shapes.

    >>> net = nn.Linear(3, 2)
    >>> parity(net, net, [torch.randn(5, 3)])
    Parity(num_images=5, error=0.0, agreement=1.0, kl=0.0)
    """
    pairs = [_outputs(model, other, batch) for batch in batches]
    if not pairs:
        raise DataError("There is no batch to compare the two networks on; give some images.")
    first, second = torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs])
    classes = first.dim() == 2 and first.shape[1] > 1 and all(pair[2] for pair in pairs)
    spread = float((first - first.mean(0)).square().sum())
    agreement = float((first.argmax(1) == second.argmax(1)).double().mean()) if classes else None
    return Parity(
        num_images=len(first),
        error=float((first - second).square().sum()) / max(spread, 1e-30),
        agreement=agreement,
        kl=_divergence(first, second) if classes else None,
    )


def _outputs(model: nn.Module, other: nn.Module, batch: ExampleInput) -> tuple[Tensor, Tensor, bool]:
    """Both networks' outputs in one row per image, and whether they are scores of classes."""
    found = []
    for network in (model, other):
        args, kwargs = as_arguments(batch)
        with undisturbed(network):
            found.append(output_tensors(network(*args, **kwargs)))
    shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in found]
    if shapes[0] != shapes[1]:
        raise ModelError(f"The two networks give outputs of different shapes, {shapes[0]} and {shapes[1]}.")
    scores = len(shapes[0]) == 1 and len(shapes[0][0]) == 2
    first, second = (torch.cat([tensor.double().flatten(1) for tensor in tensors], 1) for tensors in found)
    return first, second, scores


def _divergence(first: Tensor, second: Tensor) -> float:
    left, right = first.log_softmax(1), second.log_softmax(1)
    return float((left.exp() * (left - right)).sum(1).mean().clamp_min(0))
