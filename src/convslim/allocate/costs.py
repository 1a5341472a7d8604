"""What a solution costs: multiply–accumulates, parameters and, where it is asked for, latency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from convslim.measure.cost import METRICS, CostModel
from convslim.measure.latency_model import LatencyModel

Counts = npt.NDArray[np.int64]

LATENCY: Final = "latency"
NS_PER_MS: Final = 1_000_000


class CostFunction(Protocol):
    """Costs that never fall when a group keeps more channels."""

    @property
    def sizes(self) -> Counts:
        """The original number of channels per group."""

    def evaluate(self, counts: npt.NDArray[np.integer]) -> Counts:
        """Costs of shape ``(..., num_metrics)`` for kept counts of shape ``(..., num_groups)``."""


@dataclass(frozen=True, eq=False)
class Costs:
    """All costs of one network, in the order of :attr:`metrics`; latency in whole nanoseconds.

    Attributes:
        model: MACs and parameters.
        latency: The latency, or None if nobody asked for it.
    """

    model: CostModel
    latency: LatencyModel | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """What :meth:`evaluate` returns."""
        return METRICS if self.latency is None else (*METRICS, LATENCY)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the groups."""
        return self.model.names

    @property
    def sizes(self) -> Counts:
        """The original number of channels per group."""
        return self.model.sizes

    def evaluate(self, counts: npt.NDArray[np.integer]) -> Counts:
        """Costs of one or many vectors of kept counts, shape ``(..., num_metrics)``."""
        found = self.model.evaluate(counts)
        if self.latency is None:
            return found
        nanoseconds = np.rint(self.latency.evaluate(counts) * NS_PER_MS).astype(np.int64)
        return np.concatenate([found, nanoseconds[..., None]], -1)

    def expected_ms(self, counts: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """Milliseconds that one or many vectors are expected to take, dips at good widths included."""
        assert self.latency is not None, "somebody asked for it"
        return self.latency.expected(counts)


def shown(metric: str, value: int) -> str:
    """A cost in words.

    >>> shown("macs", 12345), shown("latency", 2_345_678)
    ('12,345', '2.346 ms')
    """
    return f"{value / NS_PER_MS:.4g} ms" if metric == LATENCY else f"{value:,}"
