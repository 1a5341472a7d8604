"""Orders of candidates: one number, several numbers, given up."""

from __future__ import annotations

import numpy as np
import pytest

from convslim.errors import PlanError
from convslim.search.candidate import Candidate
from convslim.search.objective import Objective
from convslim.search.ranking import crowding_distances, front, front_numbers, ranked


def candidate(slot: int, *fitness: float, macs: int = 10, complete: bool = True) -> Candidate:
    return Candidate(0, slot, {}, (), f"key{slot}", {"macs": macs}, (), fitness, 1, 2, complete, 0.0)


def test_higher_first_then_cheaper_then_earlier_and_given_up_last():
    found = ranked(
        [
            candidate(0, 0.5),
            candidate(1, 0.9, complete=False),
            candidate(2, 0.7, macs=9),
            candidate(3, 0.7, macs=8),
            candidate(4, 0.5),
        ]
    )
    assert [each.slot for each in found] == [3, 2, 0, 4, 1]
    assert ranked([]) == []


def test_fronts_agree_with_the_definition():
    fitness = np.random.default_rng(0).integers(0, 6, (40, 3)).astype(float)
    numbers = front_numbers(fitness)

    def dominates(one: np.ndarray, other: np.ndarray) -> bool:
        return bool((one >= other).all() and (one > other).any())

    for place, number in enumerate(numbers):
        over = [numbers[other] for other in range(40) if dominates(fitness[other], fitness[place])]
        assert number == (max(over) + 1 if over else 0)


def test_crowding_prefers_the_ends_and_the_lonely():
    fitness = np.array([[0.0, 1.0], [0.1, 0.9], [0.6, 0.4], [1.0, 0.0]])
    distances = crowding_distances(fitness, np.zeros(4, np.int64))
    assert np.isinf(distances[[0, 3]]).all()
    assert distances[2] > distances[1]


def test_front_holds_complete_undominated_plans_once():
    members = [
        candidate(0, 0.9, -0.5, macs=5),
        candidate(1, 0.8, -0.6, macs=6),
        candidate(2, 0.7, -0.2, macs=2),
        candidate(3, 1.0, -0.1, macs=1, complete=False),
    ]
    assert [each.slot for each in front(members)] == [2, 0]
    assert front([members[3]]) == []


def test_objectives():
    original = {"macs": 100, "params": 10}
    assert Objective("accuracy", original).values(0.9, {"macs": 50}) == (0.9,)
    adjustable = Objective("adjustable", original, weight=0.2)
    assert adjustable.values(0.9, {"macs": 50}) == pytest.approx((1.0,))
    assert adjustable.accuracy_for(1.0, {"macs": 50}) == pytest.approx(0.9)
    several = Objective("pareto", original, metrics=("macs", "params"))
    assert several.values(0.9, {"macs": 50, "params": 1}) == (0.9, -0.5, -0.1)
    assert several.num_values == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "paretto"}, "Did you mean 'pareto'"),
        ({"metrics": ("latency",)}, "budget of latency"),
        ({"weight": -1}, "weight=-1"),
    ],
)
def test_objectives_are_checked(change: dict[str, object], words: str):
    with pytest.raises(PlanError, match=words):
        Objective(**{"kind": "accuracy", "original": {"macs": 1}, **change})  # type: ignore[arg-type]
