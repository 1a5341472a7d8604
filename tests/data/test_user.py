"""Data of the user's own: a `DataSource`, or a pair of PyTorch data sets."""

import sys

import pytest
import torch

from convslim.data import open_data
from convslim.errors import DataError

CODE = """
import torch
from convslim.data import open_data

class Squares(torch.utils.data.Dataset):
    classes = ["odd", "even"]

    def __init__(self, count, wrong=None):
        self.count, self.wrong = count, wrong

    def __len__(self):
        return self.count

    def __getitem__(self, row):
        label = 7 if row == self.wrong else row % 2
        return torch.full((1, 4, 4), float(row)), label

class Nameless(Squares):
    classes = None
    targets = property(lambda self: [row % 2 for row in range(self.count)])

class Strange(Squares):
    def __getitem__(self, row):
        return [1, 2], 0

def source(**options):
    return open_data("digits", **options)

def pair(count=10, wrong=None):
    return Squares(count, wrong), Squares(4)

def nameless():
    return Nameless(10), Nameless(4)

def empty():
    return Squares(10), Squares(0)

def strange():
    return Strange(10), Strange(4)

def nothing():
    return None
"""


@pytest.fixture
def code(tmp_path):
    path = tmp_path / "my_data.py"
    path.write_text(CODE)
    before = set(sys.modules)
    yield path
    for name in set(sys.modules) - before:
        if name.startswith("my_data"):
            del sys.modules[name]


def test_factory_may_return_a_source(code):
    source = open_data(f"{code}:source", augmentation={"padding": 3}, mean=[0.0])
    assert (source.name, source.train.augmentation.padding, source.mean) == ("digits", 3, (0.0,))


@pytest.mark.parametrize("workers", [0, 2])
def test_pair_of_datasets_is_read_as_it_comes(code, workers):
    source = open_data(f"{code}:pair", count=9, workers=workers, holdout=3)
    assert (source.classes, source.input_shape, len(source.train), len(source.test)) == (
        ("odd", "even"),
        (1, 4, 4),
        6,
        4,
    )
    seen = [
        (float(image[0, 0, 0]), int(label))
        for images, labels in source.train.batches(4, seed=0)
        for image, label in zip(images, labels, strict=True)
    ]
    assert all(label == value % 2 for value, label in seen)
    held = [float(value) for images, _ in source.holdout.batches(4) for value in images[:, 0, 0, 0]]
    assert sorted([*(value for value, _ in seen), *held]) == list(range(9))
    images, labels = next(iter(source.test.batches(4)))
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)


def test_targets_and_num_classes_stand_in_for_names(code):
    source = open_data(f"{code}:nameless", num_classes=2, holdout=4)
    assert source.classes == ("0", "1")
    assert torch.bincount(source.holdout.labels).tolist() == [2, 2]


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        ("nothing", {}, "returned a NoneType; it must return"),
        ("empty", {}, "the test set is empty"),
        ("nameless", {}, "give the option num_classes"),
        ("strange", {}, "item 0 starts with a list"),
        ("pears", {}, "Did you mean 'pair'?"),
        ("pair", {"wrongs": 3}, "unexpected keyword argument 'wrongs'"),
    ],
)
def test_wrong_factories_are_explained(code, factory, options, message):
    with pytest.raises(DataError, match=message):
        open_data(f"{code}:{factory}", **options)


def test_label_out_of_range_names_the_item(code):
    source = open_data(f"{code}:pair", wrong=6)
    with pytest.raises(DataError, match=r"training set of '.*' *: item 6 has label 7; with 2 classes"):
        list(source.train.batches(4))
