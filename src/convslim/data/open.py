"""`open_data`: from the words of a recipe or the command line to a `DataSource`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from convslim.data.digits import open_digits
from convslim.data.source import DataSource
from convslim.errors import DataError, nearest

OPENERS: dict[str, Callable[..., DataSource]] = {"digits": open_digits}


def open_data(
    spec: str,
    *,
    holdout: float | int = 0,
    holdout_seed: int = 0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    **options: Any,
) -> DataSource:
    """Open a data set by name."""
    kind, _, path = spec.partition(":")
    if kind not in OPENERS:
        raise DataError(f"data set '{spec}' is not known.{nearest(kind, OPENERS)}")
    source = OPENERS[kind](**options)
    return source.hold_out(holdout, seed=holdout_seed) if holdout else source
