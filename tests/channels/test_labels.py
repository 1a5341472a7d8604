"""Labels: handed out once, united like sets, resolved to classes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convslim.channels.labels import LabelStore, is_varying

quick = settings(deadline=None, database=None, max_examples=100)
NUM = 30
pairs = st.lists(st.tuples(st.integers(0, NUM - 1), st.integers(0, NUM - 1)), max_size=60)


def naive_classes(count, united):
    """The set of every label, found by merging sets one pair after the other; zeros are never merged."""
    sets = [{label} for label in range(count)]
    for left, right in united:
        if left and right:
            merged = sets[left] | sets[right]
            for label in merged:
                sets[label] = merged
    return [frozenset(members) for members in sets]


def united(store, chosen):
    for left, right in chosen:
        store.unite(np.array([left]), np.array([right]))
    return store.resolve()


@quick
@given(pairs)
def test_classes_are_those_of_a_naive_union(chosen):
    store = LabelStore()
    store.fresh(NUM - 1)
    classes = united(store, chosen)
    found = [frozenset(np.flatnonzero(classes == number).tolist()) for number in classes]
    assert found == naive_classes(NUM, chosen)


@quick
@given(pairs)
def test_label_zero_is_class_zero_and_alone(chosen):
    store = LabelStore()
    store.fresh(NUM - 1)
    classes = united(store, chosen)
    assert classes[0] == 0
    assert (classes[1:] != 0).all()


@quick
@given(pairs, st.integers(1, 5))
def test_arrays_unite_position_by_position(chosen, columns):
    one, other = LabelStore(), LabelStore()
    for store in (one, other):
        store.fresh(NUM - 1)
    grid = np.array(chosen, dtype=np.int64).reshape(-1, 2)
    padded = np.zeros((-(-max(len(grid), 1) // columns) * columns, 2), dtype=np.int64)
    padded[: len(grid)] = grid
    one.unite(padded[:, 0].reshape(-1, columns), padded[:, 1].reshape(-1, columns))
    assert (one.resolve() == united(other, chosen)).all()


@quick
@given(pairs, pairs)
def test_resolving_in_between_changes_nothing(first, second):
    one, other = LabelStore(), LabelStore()
    for store in (one, other):
        store.fresh(NUM - 1)
    united(one, first)
    assert (united(one, second) == united(other, first + second)).all()


@pytest.mark.parametrize("times", [127, 128, 255, 256, 512])
def test_uniting_the_same_pair_often_keeps_it_united(times):
    store = LabelStore()
    a, b = store.fresh(1), store.fresh(1)
    store.unite(np.repeat(a, times), np.repeat(b, times))
    assert store.resolve().tolist() == [0, 1, 1]


def test_fresh_labels_are_nobodys():
    store = LabelStore()
    first, second = store.fresh(3), store.fresh(2)
    assert first.tolist() == [1, 2, 3]
    assert second.tolist() == [4, 5]
    assert store.resolve().tolist() == [0, 1, 2, 3, 4, 5]
    store.unite(first[:2], second)
    later = store.fresh(1)
    assert store.resolve()[later] not in store.resolve()[:6]


def test_is_varying_looks_along_one_dimension():
    grid = np.array([[1, 2], [1, 2]])
    assert not is_varying(grid, 0)
    assert is_varying(grid, 1)
    assert not is_varying(np.array([7]), 0)
