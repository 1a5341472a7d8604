"""Numbers as counts in bins: small enough for a record, enough for a histogram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

BINS: Final = 40
SKEWED: Final = 20.0
"""Largest value by median from which bins of equal ratios show more."""

Values = npt.NDArray[np.float64]


def distribution(values: Mapping[str, Values]) -> dict[str, Any]:
    """Bin numbers.

    Args:
        values: Finite numbers, by what they are.

    Returns:
        ``edges``, 41 increasing numbers, and ``counts``, 40 integers for each name. Edges are of equal distance, or of
        equal ratios where all numbers are positive and most of them small.

    >>> found = distribution({"kept": np.array([0.5, 1.0]), "removed": np.array([0.0])})
    >>> found["edges"][0], found["edges"][-1], sum(found["counts"]["kept"]), found["counts"]["removed"][0]
    (0.0, 1.0, 2, 1)
    """
    every = np.concatenate([np.zeros(0), *values.values()])
    edges = _edges(every) if every.size else np.linspace(0, 1, BINS + 1)
    return {
        "edges": [float(f"{edge:.6g}") for edge in edges],
        "counts": {name: np.histogram(found, edges)[0].tolist() for name, found in values.items()},
    }


def kept_and_removed(values: Mapping[str, Values], kept: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Bin the numbers of channels, those that stay apart from those that go.

    Args:
        values: A number for every channel, by group.
        kept: Indices of the channels that stay, by group; groups that are not in it stay whole.

    >>> kept_and_removed({"conv1": np.array([1.0, 2.0, 4.0])}, {"conv1": [1, 2]})["counts"]["removed"][:2]
    [1, 0]
    """
    stays = {name: np.isin(np.arange(len(found)), kept.get(name, range(len(found)))) for name, found in values.items()}
    return distribution(
        {
            "kept": np.concatenate([np.zeros(0), *(found[stays[name]] for name, found in values.items())]),
            "removed": np.concatenate([np.zeros(0), *(found[~stays[name]] for name, found in values.items())]),
        }
    )


def _edges(every: Values) -> Values:
    low, high = float(every.min()), float(every.max())
    if low == high:
        return np.linspace(low, low + (abs(low) or 1.0) * 1e-3, BINS + 1)
    if low > 0 and high / float(np.median(every)) > SKEWED:
        return np.geomspace(low, high, BINS + 1)
    return np.linspace(low, high, BINS + 1)
