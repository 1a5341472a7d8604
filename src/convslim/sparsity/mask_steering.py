"""The strength of the penalty on coefficients that a budget needs, and no more."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from convslim.channels.graph import ChannelGraph
from convslim.errors import BudgetError, nearest
from convslim.measure.cost import METRICS, CostModel
from convslim.sparsity.mask_places import MaskPlaces

Reals = npt.NDArray[np.float64]


class BudgetSteering:
    """The smallest soft threshold after which the live channels cost no more than is allowed at that moment.

    What is allowed falls in a straight line from the whole network's cost to the budget, over the first
    `ramp_steps` steps.

    Args:
        graph: The network's trace.
        places: Its coefficients.
        budget: `macs` and `params`, each a float in (0, 1], a fraction of the network, or an int above 1.
        ramp_steps: Steps until the budget itself holds.

    Raises:
        BudgetError: For an unknown metric.
    """

    def __init__(self, graph: ChannelGraph, places: MaskPlaces, budget: Mapping[str, float], ramp_steps: int) -> None:
        self._model = CostModel(graph)
        self._whole = self._cost(self._model.sizes).astype(np.float64)
        self._limit = self._whole.copy()
        for name, value in budget.items():
            if name not in METRICS:
                raise BudgetError(
                    f"There is no budget {name!r}; known are {', '.join(METRICS)}.{nearest(name, METRICS)}"
                )
            place = METRICS.index(name)
            self._limit[place] = value * self._whole[place] if isinstance(value, float) else value
        self._ramp_steps = max(ramp_steps, 1)
        self._columns = np.array([self._model.names.index(name) for name in places.groups])
        self._starts = np.cumsum([0, *places.sizes])[:-1]

    def _cost(self, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return self._model.evaluate(counts)[..., : len(METRICS)]

    def cost_of(self, alive: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Cost of the network with these channels alone; shape `(..., total)` → `(..., 2)`."""
        counts = np.broadcast_to(self._model.sizes, (*alive.shape[:-1], len(self._model.sizes))).copy()
        counts[..., self._columns] = np.add.reduceat(alive, self._starts, axis=-1, dtype=np.int64)
        return self._cost(counts)

    def allowed(self, step: int) -> Reals:
        """The largest cost per metric after a step."""
        part = min(step / self._ramp_steps, 1.0)
        return self._whole + part * (self._limit - self._whole)

    def share(self, alive: npt.NDArray[np.bool_]) -> float:
        """MACs of the live channels as a share of the whole network's."""
        return float(self.cost_of(alive)[METRICS.index("macs")] / self._whole[METRICS.index("macs")])

    def met(self, alive: npt.NDArray[np.bool_]) -> bool:
        """True if these channels alone keep the budget."""
        return bool((self.cost_of(alive) <= self._limit).all())

    def threshold(self, size: Reals, exempt: npt.NDArray[np.bool_], step: int, most: float) -> float:
        """The soft threshold for one step.

        Args:
            size: Absolute coefficients after the gradient step, shape `(total,)`.
            exempt: Those that no threshold takes.
            step: Steps done with this one.
            most: The threshold is never larger.
        """
        candidates = np.unique(np.concatenate([[0.0], size[~exempt & (size <= most)]]))
        low, high = 0, len(candidates)  # candidates below `low` allow too much, those from `high` on are enough
        allowed = self.allowed(step)
        while low < high:
            middle = (low + high) // 2
            enough = (self.cost_of((size > candidates[middle]) | exempt) <= allowed).all()
            low, high = (low, middle) if enough else (middle + 1, high)
        return float(candidates[low]) if low < len(candidates) else most
