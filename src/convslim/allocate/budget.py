"""Budgets: what the user asked for, as absolute numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from convslim.allocate.costs import LATENCY, NS_PER_MS, Costs
from convslim.errors import BudgetError, nearest
from convslim.measure.cost import METRICS

NO_LIMIT = np.iinfo(np.int64).max

MS = "ms"
BUDGETS = (*METRICS, LATENCY, MS)
"""What can be limited; ``ms`` is the latency as an absolute number."""


def limits(budget: Mapping[str, float], costs: Costs, original_ms: float | None = None) -> npt.NDArray[np.int64]:
    """The largest allowed cost per metric, in the order of ``costs.metrics``.

    Args:
        budget: ``"macs"`` and ``"params"``, each a float in (0, 1], the fraction of the original that may
            remain, or an int above 1, an absolute number; ``"latency"``, a float in (0, 1]; ``"ms"``, milliseconds.
        costs: The costs of the network.
        original_ms: The latency that ``"latency"`` is a fraction of; needed for it.

    Returns:
        Shape ``(num_metrics,)``, at least 1; :data:`NO_LIMIT` where there is no budget.

    Raises:
        BudgetError: For an unknown metric, a number that is none of these, or a latency that nobody can tell.
    """
    original = costs.evaluate(costs.sizes)
    allowed = np.full(len(costs.metrics), NO_LIMIT, np.int64)
    for name, value in budget.items():
        if name not in BUDGETS:
            raise BudgetError(f"There is no budget {name!r}; known are {', '.join(BUDGETS)}.{nearest(name, BUDGETS)}")
        if name in METRICS:
            place = METRICS.index(name)
            allowed[place] = _absolute(name, value, int(original[place]))
        elif original_ms is None:
            raise BudgetError(
                f"The budget {name}={value} needs measured times: give latency=convslim.timing(graph, model, "
                "example_input)."
            )
        else:
            place = costs.metrics.index(LATENCY)
            allowed[place] = min(allowed[place], round(_milliseconds(name, value, original_ms) * NS_PER_MS))
    return allowed


def asks_for_latency(budget: Mapping[str, float]) -> bool:
    """True if a budget can only be met by measuring."""
    return LATENCY in budget or MS in budget


def _milliseconds(name: str, value: float, original_ms: float) -> float:
    _require_number(name, value, f"{original_ms:.4g} ms")
    if name == MS:
        if value > 0 and np.isfinite(value):
            return float(value)
        raise BudgetError(f"The budget ms={value} must be a number of milliseconds above 0.")
    if 0 < value <= 1:
        return float(value) * original_ms
    raise BudgetError(
        f"The budget latency={value} is a fraction of the unpruned network's {original_ms:.4g} ms and must be in "
        f"(0, 1]; for milliseconds write ms={value}."
    )


def _absolute(metric: str, value: float, original: int) -> int:
    _require_number(metric, value, f"{original:,}")
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


def _require_number(name: str, value: object, original: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise BudgetError(
            f"The budget {name}={value!r} is a {type(value).__name__}; give a float in (0, 1], the "
            f"fraction of {original} that may remain, or an absolute number."
        )
