"""The bound below which a candidate is given up holds as often as it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from convslim.errors import DataError
from convslim.search.evaluation_bound import highest_share, is_hopeless
from convslim.search.evaluation_images import JudgingImages


def test_the_bound_holds_as_often_as_it_says():
    """Of 2,000 random orders of images of which 70 % are right, at most 5 % give up a candidate that reaches 70 %."""
    rng = np.random.default_rng(0)
    right = np.arange(1000) < 700
    looks = range(50, 1000, 50)
    wrong = 0
    for _ in range(2000):
        seen = rng.permutation(right).cumsum()
        wrong += any(is_hopeless(seen[n - 1], n, 1000, below=0.7, looks=len(looks), error=0.05) for n in looks)
    assert wrong / 2000 <= 0.05


def test_a_clearly_worse_candidate_is_given_up_soon():
    assert is_hopeless(64, 128, 2000, below=0.75, looks=16, error=0.01)
    assert not is_hopeless(64, 128, 2000, below=0.6, looks=16, error=0.01)


def test_what_is_certain_needs_no_probability():
    assert highest_share(0, 90, 100, 1e-300) == 0.1
    assert is_hopeless(0, 90, 100, below=0.11, looks=1, error=1e-300)


def test_more_images_narrow_the_bound():
    bounds = [highest_share(seen // 2, seen, 1000, 0.01) for seen in (10, 100, 500, 900, 1000)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] == 0.5


def test_images_are_checked():
    images, labels = torch.zeros(4, 1, 2, 2), torch.zeros(4, dtype=torch.long)
    with pytest.raises(DataError, match="no image to estimate"):
        JudgingImages([], images, labels)
    with pytest.raises(DataError, match="targets of shape"):
        JudgingImages([images], images, labels[:3])
    with pytest.raises(DataError, match="batch_size is 0"):
        JudgingImages([images], images, labels, 0)


def test_a_shuffle_keeps_images_and_labels_together():
    labels = torch.arange(10)
    images = JudgingImages([torch.zeros(1, 1, 1, 1)], labels.reshape(10, 1, 1, 1).float(), labels, 4)
    mixed = images.shuffled(1)
    assert torch.equal(mixed.images.flatten(), mixed.targets.float())
    assert not torch.equal(mixed.targets, labels)
    assert [len(batch) for _, batch in mixed.batches()] == [4, 4, 2]
