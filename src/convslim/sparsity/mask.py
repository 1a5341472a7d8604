"""A network whose channels are multiplied by trainable coefficients, and the network with them folded in."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

from convslim.channels.tape import named_tensors
from convslim.sparsity.mask_places import MaskPlaces, ScaledTensor

TRACE: Final = 1e-6
"""Stands for a coefficient of zero while training: ReLU has no slope at zero itself, and nothing could come back."""


class MaskedNetwork(nn.Module):
    """y = m ⊙ BN(x) for every channel of the groups that have coefficients.

    The network inside keeps its class, its names and its parameters. While it runs, the tensors of `places` are
    replaced by their products with the coefficients, so gradients reach both factors.

    Attributes:
        network: The network.
        places: What the coefficients multiply.
        point: The coefficients while training: where FISTA takes the gradient, shape `(places.total,)`.
        settled: The coefficients in evaluation: FISTA's iterate, in which zeros are channels that are cut.
        slope: Moving average of the coefficients' gradient, by which channels come back.
        inertia, strength: FISTA's t, and the λ of the last step.
        strain: By how much λ may exceed its bound, since the bound was not enough.
        steps, epochs, stable: Steps and epochs so far, and for how many of these the same channels are cut.
        cut_before: Which coefficients were zero at the end of the last epoch.
    """

    settled: Tensor
    slope: Tensor
    inertia: Tensor
    strength: Tensor
    strain: Tensor
    steps: Tensor
    epochs: Tensor
    stable: Tensor
    cut_before: Tensor

    def __init__(self, network: nn.Module, places: MaskPlaces, start: Tensor) -> None:
        super().__init__()
        self.network = network
        self.places = places
        self.point = nn.Parameter(start.clone())
        self.register_buffer("settled", start.clone())
        self.register_buffer("slope", torch.zeros_like(start))
        self.register_buffer("inertia", torch.ones((), dtype=torch.float64))
        self.register_buffer("strength", torch.zeros((), dtype=torch.float64))
        self.register_buffer("strain", torch.ones((), dtype=torch.float64))
        for name in ("steps", "epochs", "stable"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))
        self.register_buffer("cut_before", torch.zeros(places.total, dtype=torch.bool))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The network's output with the coefficients in force."""
        coefficients = self.point + TRACE * (self.point == 0) if self.training else self.settled
        with scaled(self.network, self.places, coefficients):
            return self.network(*args, **kwargs)

    def live(self) -> dict[str, int]:
        """Number of channels per group whose coefficient is not zero."""
        alive = (self.settled != 0).cpu()
        return {name: int(alive[part].sum()) for name, part in self.places.slices().items()}


@contextmanager
def scaled(network: nn.Module, places: MaskPlaces, coefficients: Tensor) -> Iterator[None]:
    """Run the network with its channels multiplied by coefficients, shape `(places.total,)`; then it is as before."""
    tensors = named_tensors(network)
    products = {id(tensors[name]): product for name, product in _products(tensors, places, coefficients).items()}
    held = [
        (module._parameters, name, tensor)
        for module in network.modules()
        for name, tensor in module._parameters.items()
        if id(tensor) in products
    ]
    try:
        for parameters, name, tensor in held:
            parameters[name] = products[id(tensor)]  # type: ignore[assignment]
        yield
    finally:
        for parameters, name, tensor in held:
            parameters[name] = tensor


def folded(network: nn.Module, places: MaskPlaces, coefficients: Tensor) -> nn.Module:
    """A copy of the network that does without coefficients what it does with them: γ' = m·γ, β' = m·β."""
    plain = copy.deepcopy(network)
    tensors = named_tensors(plain)
    with torch.no_grad():
        for name, product in _products(tensors, places, coefficients).items():
            tensors[name].copy_(product)
    return plain


def _products(tensors: dict[str, Tensor], places: MaskPlaces, coefficients: Tensor) -> dict[str, Tensor]:
    """Tensors times coefficients, by name; a tensor may be scaled along several dimensions."""
    line = torch.cat([coefficients, coefficients.new_ones(1)])  # number -1: not scaled
    products: dict[str, Tensor] = {}
    for place in places.tensors:
        tensor = products.get(place.name, tensors[place.name])
        products[place.name] = tensor * _along(line, place, tensor)
    return products


def _along(line: Tensor, place: ScaledTensor, tensor: Tensor) -> Tensor:
    """Factors shaped so that they broadcast along the place's dimension."""
    factors = line[torch.from_numpy(place.number).to(line.device)]
    return factors.reshape([-1 if dim == place.dim else 1 for dim in range(tensor.dim())])
