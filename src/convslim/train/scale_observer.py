"""What a progress bar says of scales under a penalty, and what an epoch notes of them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from convslim.sparsity.paced import PacedPenalty
from convslim.train.observer import EpochEnd


@dataclass(frozen=True)
class ScaleObserver:
    """Counts channels under a threshold, and forecasts how many there will be at the end.

    Attributes:
        penalty: What presses on the scales.
        threshold: A channel counts as gone when |γ| lies below.
    """

    penalty: PacedPenalty
    threshold: float

    def note(self, module: nn.Module) -> str:
        """The multiple of λ in force, and channels under the threshold now and, with a controller, at the end."""
        sizes = self._sizes(module)
        forecast = self._forecast(sizes)
        ahead = "" if forecast is None else f", {forecast} ahead"
        return f"λ × {self.penalty.factor:.2g}  {self._below(sizes)}{ahead} of {len(sizes)} below {self.threshold:g}"

    def end_epoch_(self, module: nn.Module) -> EpochEnd:
        """The same as facts."""
        sizes = self._sizes(module)
        facts = {"lambda_factor": self.penalty.factor, "scales_below": self._below(sizes), "scales": len(sizes)}
        forecast = self._forecast(sizes)
        return EpochEnd(facts if forecast is None else {**facts, "forecast_below": forecast})

    def _sizes(self, module: nn.Module) -> Tensor:
        return self.penalty.sizes(dict(module.named_parameters()))

    def _below(self, sizes: Tensor) -> int:
        return int((sizes < self.threshold).sum())

    def _forecast(self, sizes: Tensor) -> int | None:
        return None if self.penalty.controller is None else self.penalty.controller.forecast(sizes)
