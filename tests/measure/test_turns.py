"""Order and warm-up of what is timed in turn, with a clock that does not depend on the machine."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from convslim.measure.turns import time_in_turn


class Clock:
    """Time passes only in the subjects."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def takes(self, seconds: float):
        def call() -> None:
            self.now += seconds

        return call


def test_subjects_take_turns_in_bursts_behind_one_untimed_call() -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in "ab"}
    found = time_in_turn(calls, repeats=3, warmup=2, burst=2)
    assert "".join(order) == "aabb" + "aaa" + "bbb" + "aa" + "bb"
    assert [len(times) for times in found.values()] == [3, 3]


def test_times_are_the_subject_s_own() -> None:
    clock = Clock()
    found = time_in_turn({"a": clock.takes(0.002), "b": clock.takes(0.5)}, repeats=4, burst=3, clock=clock)
    assert [round(ms, 6) for ms in found["a"]] == [2.0] * 4
    assert [round(ms, 6) for ms in found["b"]] == [500.0] * 4


@given(st.integers(0, 40), st.integers(1, 12), st.integers(0, 5), st.integers(1, 3))
def test_every_subject_is_timed_as_often_as_asked(repeats: int, burst: int, warmup: int, subjects: int) -> None:
    called = dict.fromkeys(range(subjects), 0)

    def call(number: int):
        def count() -> None:
            called[number] += 1

        return count

    ticks = itertools.count()
    found = time_in_turn(
        {number: call(number) for number in called},
        repeats=repeats,
        warmup=warmup,
        burst=burst,
        clock=lambda: next(ticks),
    )
    assert all(times == [1000.0] * repeats for times in found.values())
    assert set(called.values()) == {warmup + repeats + -(-repeats // burst)}


def test_a_watch_is_told_how_many_turns_are_over() -> None:
    told: list[tuple[str, int, int]] = []
    time_in_turn({"a": lambda: None}, repeats=5, burst=2, watch=lambda *words: told.append(words))
    assert told == [("time in turn", done, 3) for done in range(4)]
