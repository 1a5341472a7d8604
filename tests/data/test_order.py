"""Batches are a pure function of seed and epoch, and every image comes once."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convslim.data.order import generator, global_batches, stratified_split
from convslim.errors import DataError


@given(st.integers(1, 60), st.integers(1, 20), st.one_of(st.none(), st.integers(0, 9)), st.integers(0, 3))
def test_every_image_comes_once(num_images, batch_size, seed, epoch):
    batches = global_batches(num_images, batch_size, seed=seed, epoch=epoch)
    assert sorted(torch.cat(batches).tolist()) == list(range(num_images))
    assert all(len(rows) == batch_size for rows in batches[:-1])


def order(seed, epoch):
    return torch.cat(global_batches(50, 8, seed=seed, epoch=epoch)).tolist()


def test_order_depends_on_seed_and_epoch_alone():
    torch.manual_seed(1)
    first = order(3, 4)
    torch.manual_seed(2)
    assert order(3, 4) == first
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_order_stays_the_same_across_versions():
    """Runs recorded today must resume tomorrow."""
    assert global_batches(8, 8, seed=0, epoch=0)[0].tolist() == [3, 2, 5, 1, 7, 4, 6, 0]


def test_limit_takes_the_first_of_the_order_and_drop_last_the_full_ones():
    whole = order(0, 0)
    assert torch.cat(global_batches(50, 8, seed=0, limit=20)).tolist() == whole[:20]
    assert [len(rows) for rows in global_batches(50, 8, seed=0, limit=20, drop_last=True)] == [8, 8]


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"batch_size": 4, "limit": 0}])
def test_counts_below_one_are_refused(wrong):
    with pytest.raises(DataError, match="it must be at least 1"):
        global_batches(10, **wrong)


def test_drawing_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    global_batches(50, 8, seed=0)
    generator(5)
    assert torch.equal(torch.get_rng_state(), before)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=80), st.data())
def test_stratified_split_is_exact_and_fair(labels, data):
    labels = torch.tensor(labels)
    count = data.draw(st.integers(1, len(labels) - 1))
    stay, held = stratified_split(labels, count, seed=data.draw(st.integers(0, 5)))
    assert sorted([*stay.tolist(), *held.tolist()]) == list(range(len(labels)))
    assert len(held) == count
    share = torch.bincount(labels).double() * count / len(labels)
    assert (torch.bincount(labels[held], minlength=len(share)) - share).abs().max() < 1


@pytest.mark.parametrize("amount", [0, 10, 0.0, 1.0, 0.01])
def test_empty_parts_are_refused(amount):
    with pytest.raises(DataError, match="give a share between 0 and 1"):
        stratified_split(torch.zeros(10, dtype=torch.int64), amount)
