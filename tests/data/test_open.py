"""`open_data`: names, options and their errors; the embedded digits."""

import pytest
import torch

from convslim.data import open_data
from convslim.errors import DataError


def test_digits_are_split_fixed_and_stratified():
    source = open_data("digits")
    assert torch.bincount(source.test.labels).min() >= 34
    assert torch.equal(source.test.labels, open_data("digits").test.labels)
    images, _ = next(iter(source.train.batches(5000)))
    assert abs(float(images.mean())) < 1e-3
    assert abs(float(images.std()) - 1) < 1e-3


def test_options_change_normalization_augmentation_and_hold_out():
    source = open_data("digits", mean=[0.0], std=[1.0], augmentation={"cutout": 2}, holdout=100)
    images, _ = next(iter(source.test.batches(5000)))
    assert (float(images.min()), float(images.max())) == (0.0, 1.0)
    assert (source.train.augmentation.padding, source.train.augmentation.cutout) == (1, 2)
    assert (len(source.train), len(source.holdout)) == (1337, 100)
    assert source.holdout.mean == source.test.mean == source.mean == (0.0,)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("digit", {}, "Did you mean 'digits'?"),
        ("cifar:/somewhere", {}, "Did you mean 'cifar10'?"),
        ("digits", {"sise": 3}, "has no option 'sise'"),
        ("imagefolder:x", {"sise": 3}, "Did you mean 'size'?"),
        ("digits:/somewhere", {}, "has no path"),
        ("imagefolder", {}, "needs a path: 'imagefolder:/path'"),
        ("digits", {"mean": [0.5, 0.5, 0.5]}, "one per channel"),
        ("digits", {"std": [0.0]}, "std above 0"),
        ("digits", {"augmentation": {"flips": True}}, "Did you mean 'flip'?"),
        ("digits", {"holdout": 1437}, "must leave some on both sides"),
    ],
)
def test_wrong_specs_and_options_name_the_way_out(spec, options, message):
    with pytest.raises(DataError, match=message.replace("?", r"\?")):
        open_data(spec, **options)
