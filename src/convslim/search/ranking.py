"""Which candidates are better: one number, or several of which none may be given up for another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from convslim.search.candidate import Candidate

Values = npt.NDArray[np.float64]


def ranked(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates, best first.

    Those that were given up early come last. With one number the higher fitness is better; with several, the earlier
    front, and within a front the larger crowding distance. Ties go to the lower cost, then to the earlier candidate.

    References:
        K. Deb, A. Pratap, S. Agarwal and T. Meyarivan, *A fast and elitist multiobjective genetic algorithm: NSGA-II*,
        IEEE Transactions on Evolutionary Computation 6, 2002.
    """
    if not candidates:
        return []
    fitness = np.array([candidate.fitness for candidate in candidates], np.float64)
    columns = -fitness
    if fitness.shape[1] > 1:
        fronts = front_numbers(fitness)
        columns = np.stack([fronts, -crowding_distances(fitness, fronts)], axis=1)
    keys = columns.tolist()

    def order(number: int) -> tuple[object, ...]:
        each = candidates[number]
        return (not each.complete, *keys[number], tuple(each.costs.values()), each.generation, each.slot)

    return [candidates[number] for number in sorted(range(len(candidates)), key=order)]


def front_numbers(fitness: Values) -> npt.NDArray[np.int64]:
    """0 for what nothing dominates, 1 for what only those dominate, and so on.

    Args:
        fitness: To be maximized, shape ``(num_candidates, num_values)``.

    >>> front_numbers(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.5], [0.0, 0.0]]))
    array([0, 0, 1, 2])
    """
    better = np.asarray((fitness[:, None] > fitness[None]).any(-1))
    dominates = better & ~better.T
    numbers = np.full(len(fitness), -1, np.int64)
    number = 0
    while (numbers < 0).any():
        left = numbers < 0
        numbers[left & ~dominates[left].any(0)] = number
        number += 1
    return numbers


def crowding_distances(fitness: Values, fronts: npt.NDArray[np.int64]) -> Values:
    """How far apart the neighbors of each candidate in its front are, summed over the values; ends have infinity.

    >>> crowding_distances(np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]), np.array([0, 0, 0])).tolist()
    [inf, 2.0, inf]
    """
    distances = np.zeros(len(fitness))
    for number in range(int(fronts.max()) + 1):
        members = np.flatnonzero(fronts == number)
        for column in fitness[members].T:
            order = np.argsort(column, kind="stable")
            span = float(column[order[-1]] - column[order[0]]) or 1.0
            distances[members[order[[0, -1]]]] = np.inf
            distances[members[order[1:-1]]] += (column[order[2:]] - column[order[:-2]]) / span
    return distances


def front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The complete candidates that no other one dominates, the cheapest first; of equal plans the first one."""
    whole = [candidate for candidate in candidates if candidate.complete]
    if not whole:
        return []
    numbers = front_numbers(np.array([candidate.fitness for candidate in whole], np.float64))
    first = {
        candidate.key: candidate
        for candidate, number in zip(reversed(whole), reversed(numbers), strict=True)
        if not number
    }
    return sorted(first.values(), key=lambda candidate: (*candidate.costs.values(), -candidate.fitness[0]))
