"""Channel labels: integers that say which channel an element belongs to, and union-find over them.

A label vector is an ``int64`` array along one dimension of a tensor. Label 0 means "no channel here": network input,
constants, padding. All other labels are handed out by :class:`LabelStore`; two labels that must live or die together
are united. Pairs are only collected while operations are walked; one sparse connected-components call resolves them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Vector = npt.NDArray[np.int64]


class LabelStore:
    """Hands out labels and collects which of them are equal.

    >>> store = LabelStore()
    >>> a, b = store.fresh(3), store.fresh(3)
    >>> store.unite(a, b[::-1])
    >>> [int(root) for root in store.resolve()[b]] == [int(root) for root in store.resolve()[a[::-1]]]
    True
    """

    def __init__(self) -> None:
        self.count = 1
        self._left: list[Vector] = []
        self._right: list[Vector] = []
        self._resolved: tuple[tuple[int, int], Vector] | None = None

    def fresh(self, size: int) -> Vector:
        """``size`` labels that nobody has yet."""
        first = self.count
        self.count += size
        return np.arange(first, self.count, dtype=np.int64)

    def unite(self, left: Vector, right: Vector) -> None:
        """Make equal positions of two label arrays of one shape the same channel; zeros are left alone."""
        both = (left != 0) & (right != 0) & (left != right)
        if both.any():
            self._left.append(left[both])
            self._right.append(right[both])

    def resolve(self) -> Vector:
        """Array that maps every label to the number of its class; label 0 stays class 0."""
        state = (self.count, len(self._left))
        if self._resolved is None or self._resolved[0] != state:
            self._resolved = state, self._components()
        return self._resolved[1]

    def _components(self) -> Vector:
        if not self._left:
            return np.arange(self.count, dtype=np.int64)
        left, right = np.concatenate(self._left), np.concatenate(self._right)
        edges = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(self.count, self.count))
        _, classes = connected_components(edges, directed=False)
        # Classes are numbered by their first member, so that label 0, alone in its class, is class 0.
        return classes.astype(np.int64)


def is_varying(labels: Vector, dim: int) -> bool:
    """True if labels differ along ``dim``."""
    return bool((labels != labels.take([0], axis=dim)).any())
