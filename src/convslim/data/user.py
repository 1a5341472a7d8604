"""Data of the user's own: a function that returns a `DataSource`, or a pair of PyTorch data sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from convslim.data.augment import Augmentation
from convslim.data.order import generator
from convslim.data.source import Batch, DataSource, Split
from convslim.errors import DataError
from convslim.models.user_code import call_factory


@dataclass(frozen=True, eq=False)
class DatasetReader:
    """A map-style PyTorch data set whose items are (float image (C, H, W), label), ready for the network."""

    dataset: Dataset[tuple[Tensor, int]]
    num_classes: int
    workers: int
    name: str

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    @property
    def labels(self) -> Tensor | None:
        """The attribute `targets`, as torchvision's data sets have it, or None."""
        targets = getattr(self.dataset, "targets", None)
        return None if targets is None else torch.as_tensor(targets, dtype=torch.int64)

    def read(self, batches: Sequence[Tensor], seed: int) -> Iterator[Batch]:
        """Yield the items of each batch, in the types that the data set gives.

        Raises:
            DataError: a label is not within the classes; the message names the item.
        """
        loader: DataLoader[Any] = DataLoader(
            self.dataset,
            batch_sampler=[rows.tolist() for rows in batches],
            num_workers=min(self.workers, len(batches)),
            generator=generator(seed),
        )
        for rows, (images, labels) in zip(batches, loader, strict=True):
            wrong = torch.nonzero((labels < 0) | (labels >= self.num_classes)).flatten()
            if len(wrong):
                raise DataError(
                    f"{self.name}: item {int(rows[wrong[0]])} has label {int(labels[wrong[0]])}; "
                    f"with {self.num_classes} classes labels go from 0 to {self.num_classes - 1}."
                )
            yield images, labels.long()


def open_user_data(
    spec: str, options: Mapping[str, Any], *, num_classes: int | None = None, workers: int = 0
) -> DataSource:
    """Call the user's factory.

    Args:
        spec: `package.module:factory` or `path/to/file.py:factory`. The factory returns a `DataSource`, or a
            pair (training, test) of map-style data sets with items (image (C, H, W), label). Their images are
            taken as they come: transforms are theirs.
        options: keyword arguments of the factory.
        num_classes: classes of a pair whose training set has no attribute `classes`.
        workers: processes that read the items of a pair.

    Raises:
        DataError: the factory fails or returns something else, or the classes are unknown.
    """
    made = call_factory(spec, options, error=DataError)
    if isinstance(made, DataSource):
        return made
    if not isinstance(made, Sequence) or len(made) != 2 or not all(hasattr(part, "__getitem__") for part in made):
        raise DataError(
            f"factory '{spec}' returned a {type(made).__name__}; it must return a convslim.data.DataSource "
            "or a pair (training, test) of map-style torch.utils.data.Dataset."
        )
    classes = getattr(made[0], "classes", None) or [str(label) for label in range(num_classes or 0)]
    if not classes:
        raise DataError(f"'{spec}': the training set has no attribute 'classes'; give the option num_classes.")
    splits = []
    for part, dataset in zip(("training", "test"), made, strict=True):
        if not len(dataset):
            raise DataError(f"'{spec}': the {part} set is empty.")
        reader = DatasetReader(dataset, len(classes), workers, f"{part} set of '{spec}'")
        splits.append(_split(reader))
    return DataSource(spec, splits[0], splits[1], tuple(map(str, classes)))


def _split(reader: DatasetReader) -> Split:
    """All items of a data set; the shape is that of the first."""
    image = reader.dataset[0][0]
    if not isinstance(image, Tensor) or image.ndim != 3:
        raise DataError(
            f"{reader.name}: item 0 starts with {_describe(image)}; items must be (tensor of shape (C, H, W), label)."
        )
    channels, height, width = image.shape
    plain = ((0.0,) * channels, (1.0,) * channels)
    return Split(reader, torch.arange(len(reader)), (channels, height, width), *plain, Augmentation())


def _describe(item: object) -> str:
    return f"a tensor of shape {tuple(item.shape)}" if isinstance(item, Tensor) else f"a {type(item).__name__}"
