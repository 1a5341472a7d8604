"""Latency of a whole network as a function of the kept channels: measured layers, calibrated on the whole.

``latency(k) = scale · Σ_l time_l(k) + rest · elements(k) / elements(all)``: the layers' kernels, and everything else
(additions, activations that were not fused, pooling, the call itself), which grows with the feature maps. ``scale`` and
``rest`` are such that the unpruned network has the latency that was measured, shared out as the runtime's profile says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from convslim.measure.layer_times import LayerTimes

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class WholeTime:
    """A measured network.

    Attributes:
        ms: Milliseconds of one call.
        layer_share: Part of it that convolutions and linear layers take, from 0 to 1.
    """

    ms: float
    layer_share: float


@dataclass(frozen=True, eq=False)
class LatencyModel:
    """See the module's text.

    Attributes:
        layers: Time of the layers.
        scale: Factor on it.
        rest_ms: Everything else, for the unpruned network.
    """

    layers: LayerTimes
    scale: float
    rest_ms: float

    @classmethod
    def calibrated(cls, layers: LayerTimes, whole: WholeTime) -> LatencyModel:
        """The model that gives the unpruned network its measured latency."""
        total = float(layers.total(layers.sizes))
        share = whole.layer_share if total > 0 else 0.0
        return cls(layers, share * whole.ms / total if total > 0 else 1.0, (1 - share) * whole.ms)

    def evaluate(self, counts: npt.NDArray[np.integer]) -> Floats:
        """Milliseconds, shape ``(...)``, for kept channels per group of shape ``(..., num_groups)``.

        They never fall when a group keeps more channels, see :mod:`convslim.measure.layer_times`.
        """
        return self._whole(self.layers.total(counts), counts)

    def expected(self, counts: npt.NDArray[np.integer]) -> Floats:
        """The same from times as they were measured: some widths are slower than wider ones."""
        return self._whole(self.layers.measured(counts), counts)

    def _whole(self, layers: Floats, counts: npt.NDArray[np.integer]) -> Floats:
        elements = self.layers.elements(counts) / max(float(self.layers.elements(self.layers.sizes)), 1.0)
        result: Floats = self.scale * layers + self.rest_ms * elements
        return result

    def corrected(self, factor: float) -> LatencyModel:
        """A model that expects ``factor`` times as much everywhere."""
        return replace(self, scale=factor * self.scale, rest_ms=factor * self.rest_ms)

    def flat_layers(self, share: float = 0.8) -> tuple[str, ...]:
        """Layers whose width may change and that at their narrowest still take ``share`` of their time.

        They are bound by what a kernel costs however little it does, and will not be faster with fewer channels.
        """
        least = np.ones_like(self.layers.sizes)
        full, narrow = self.layers.by_layer(self.layers.sizes), self.layers.by_layer(least)
        return tuple(
            layer.module
            for layer, before, after in zip(self.layers.layers, full, narrow, strict=True)
            if (layer.made.times or layer.read.times) and after > share * before
        )
