"""Data sets: small ones live in memory as uint8 tensors, image folders are decoded while they are read.

>>> source = open_data("digits", holdout=0.1)
>>> len(source.train), len(source.holdout), len(source.test), source.num_classes, source.input_shape
(1293, 144, 360, 10, (1, 8, 8))
"""

from convslim.data.augment import Augmentation
from convslim.data.open import open_data
from convslim.data.source import Batches, DataSource, ImageSplit, Reader, Split, TensorReader

__all__ = ["Augmentation", "Batches", "DataSource", "ImageSplit", "Reader", "Split", "TensorReader", "open_data"]
