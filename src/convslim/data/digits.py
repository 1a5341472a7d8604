"""The embedded data set: 1,797 handwritten digits of 8×8 pixels, shipped inside scikit-learn."""

from __future__ import annotations

import torch

from convslim.data.augment import Augmentation
from convslim.data.order import stratified_split
from convslim.data.source import DataSource, Split, TensorReader

MEAN, STD = (0.3054,), (0.3761,)  # of the training images, scaled to [0, 1]


def open_digits() -> DataSource:
    """Open the digits: 1,437 training and 360 test images, gray, 10 classes; a fixed, stratified split.

    References:
        E. Alpaydin and C. Kaynak, *Optical Recognition of Handwritten Digits*, UCI Machine Learning
        Repository, 1998.

    >>> source = open_digits()
    >>> len(source.train), len(source.test), source.input_shape
    (1437, 360, (1, 8, 8))
    """
    from sklearn.datasets import load_digits  # takes a second to import; most users of convslim never need it

    bunch = load_digits()
    images = torch.from_numpy(bunch.images)[:, None].mul(255 / 16).round().to(torch.uint8)
    labels = torch.from_numpy(bunch.target).long()
    train_rows, test_rows = stratified_split(labels, 360)
    reader = TensorReader(images, labels)
    train = Split(reader, train_rows, (1, 8, 8), MEAN, STD, Augmentation(padding=1))
    test = Split(reader, test_rows, (1, 8, 8), MEAN, STD, Augmentation())
    return DataSource("digits", train, test, tuple("0123456789"))
