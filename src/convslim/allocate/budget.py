"""Budgets: what the user asked for, as absolute numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from convslim.errors import BudgetError, nearest
from convslim.measure.cost import METRICS, CostModel

NO_LIMIT = np.iinfo(np.int64).max


def limits(budget: Mapping[str, float], model: CostModel) -> npt.NDArray[np.int64]:
    """The largest allowed cost per metric, in the order of :data:`~convslim.measure.cost.METRICS`.

    Args:
        budget: ``"macs"`` and ``"params"``, each a float in (0, 1], the fraction of the original that may
            remain, or an int above 1, an absolute number.
        model: The cost of the network.

    Returns:
        Shape ``(2,)``, at least 1; :data:`NO_LIMIT` where there is no budget.

    Raises:
        BudgetError: For an unknown metric, or a number that is neither of the two.
    """
    original = model.evaluate(model.sizes)
    allowed = np.full(len(METRICS), NO_LIMIT, np.int64)
    for metric, value in budget.items():
        if metric not in METRICS:
            raise BudgetError(
                f"There is no budget {metric!r}; known are {', '.join(METRICS)}.{nearest(metric, METRICS)}"
            )
        place = METRICS.index(metric)
        allowed[place] = _absolute(metric, value, int(original[place]))
    return allowed


def _absolute(metric: str, value: float, original: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise BudgetError(
            f"The budget {metric}={value!r} is a {type(value).__name__}; give a float in (0, 1], the "
            f"fraction of {original:,} that may remain, or an int, an absolute number."
        )
    if isinstance(value, int | np.integer):
        if value > 1:
            return int(value)
        raise BudgetError(
            f"The budget {metric}={value} is an int, an absolute number, and must be above 1; "
            f"for a fraction of the original {original:,} write a float in (0, 1], such as {metric}=0.5."
        )
    if 0 < value <= 1:
        return max(int(value * original), 1)
    raise BudgetError(
        f"The budget {metric}={value} is a float, a fraction of the original {original:,}, and must be in "
        f"(0, 1]; for an absolute number write an int."
    )
