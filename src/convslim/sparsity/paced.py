"""A penalty whose strength changes while training goes on: by a ramp, by a controller, or by both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from convslim.errors import TrainingError
from convslim.sparsity.controller import Controller, pressed
from convslim.sparsity.penalty import Parameters, Penalty
from convslim.sparsity.proximal import Proximal
from convslim.sparsity.ramp import RampName, ramp
from convslim.sparsity.shapes import L1, Shape
from convslim.sparsity.subgradient import Subgradient

MethodName = Literal["subgradient", "proximal"]
METHODS: Final[Mapping[MethodName, Callable[[Mapping[str, Tensor], Shape], Penalty]]] = {
    "subgradient": Subgradient,
    "proximal": Proximal,
}


@runtime_checkable
class Paced(Penalty, Protocol):
    """A penalty that wants to know how far the training is."""

    def pace_(self, parameters: Parameters, done: float, lr: float) -> None:
        """Before every step of rate `lr`; `done` is the share of the training that lies behind, 0…1."""
        ...

    def state(self) -> dict[str, float]:
        """What a resumed training has to know."""
        ...

    def restore_(self, state: Mapping[str, float]) -> None:
        """Go on where another one stood."""
        ...


@dataclass
class PacedPenalty:
    """R(γ) = ramp(t) · multiple(t) · Σ_c λ_c·r(|γ_c|), as a subgradient or as a proximal step.

    A controller needs proximal steps, whose effect it can compute; its shape has to be the penalty's.

    Args:
        strengths: parameter name → λ of each entry, shaped like the parameter; 0 leaves an entry alone.
        shape: r.
        method: ``"subgradient"`` or ``"proximal"``.
        ramp: How λ comes into force.
        ramp_length: Share of the training after which it is in force whole.
        controller: Finds the multiple, and which channels are pressed on; None leaves it at 1, and presses on all.

    Attributes:
        factor: ramp · multiple of the last step.

    Raises:
        TrainingError: If a controller is to steer subgradient steps.
    """

    strengths: Mapping[str, Tensor]
    shape: Shape = L1
    method: MethodName = "subgradient"
    ramp: RampName = "constant"
    ramp_length: float = 0.5
    controller: Controller | None = None
    factor: float = field(default=1.0, init=False)
    _now: Penalty = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.controller is not None and self.method != "proximal":
            raise TrainingError(
                f"A wished share of small scales needs method 'proximal', not {self.method!r}: subgradient steps leave "
                "scales hovering around zero. Set method: proximal, or leave out the aim."
            )
        self._now = METHODS[self.method](self.strengths, self.shape)

    @torch.no_grad()
    def pace_(self, parameters: Parameters, done: float, lr: float) -> None:
        """Set the strength for the next step."""
        self.factor, strengths = ramp(self.ramp, done, self.ramp_length), self.strengths
        if self.controller is not None:
            strength = self.factor * max(float(strength.max()) for strength in strengths.values())
            self.controller.step_(self.sizes(parameters), strength, lr, done)
            self.factor *= self.controller.multiple
            strengths = pressed(parameters, strengths, self.controller.pressed_share(), self.controller.aim.floor)
        scaled = {name: self.factor * strength for name, strength in strengths.items()}
        self._now = METHODS[self.method](scaled, self.shape)

    @torch.no_grad()
    def sizes(self, parameters: Parameters) -> Tensor:
        """|γ| of every penalized channel, (num_channels,)."""
        found = [(parameters[name].abs(), strength) for name, strength in self.strengths.items()]
        return torch.cat([sizes[strength.to(sizes.device) > 0] for sizes, strength in found])

    def value(self, parameters: Parameters) -> float:
        """R(γ) with the strength of the last step."""
        return self._now.value(parameters)

    def apply_gradient_(self, parameters: Parameters) -> None:
        """The subgradient's part."""
        self._now.apply_gradient_(parameters)

    def apply_proximal_(self, parameters: Parameters, lr: float) -> None:
        """The proximal operator's part."""
        self._now.apply_proximal_(parameters, lr)

    def state(self) -> dict[str, float]:
        """What a resumed training has to know."""
        return self.controller.state() if self.controller is not None else {}

    def restore_(self, state: Mapping[str, float]) -> None:
        """Go on where another one stood."""
        if self.controller is not None:
            self.controller.restore_(state)
