"""Loading batches in processes beside the main one, whose errors come back as errors and not as tracebacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

from convslim.errors import DataError

Key = TypeVar("Key")
Batch = TypeVar("Batch")


def in_workers(load: Callable[[list[Key]], Batch], batches: Sequence[list[Key]], workers: int) -> Iterator[Batch]:
    """What `load` makes of every list of keys, in order.

    Args:
        load: Is sent to the worker processes, with what it holds.
        batches: The keys of each batch.
        workers: Processes; 0 loads in the main process.

    Raises:
        DataError: As `load` raises it.
    """
    loader: DataLoader[Batch] = DataLoader(
        _Loading(load),
        batch_sampler=batches,
        num_workers=min(workers, len(batches)),
        collate_fn=_as_it_is,
    )
    for found in loader:
        if isinstance(found, DataError):
            raise found
        yield found


class _Loading(Dataset[Batch], Generic[Key, Batch]):
    """What a worker process holds."""

    def __init__(self, load: Callable[[list[Key]], Batch]) -> None:
        self.load = load

    def __getitems__(self, keys: list[Key]) -> Batch | DataError:
        """A batch; an error is handed over, since a worker process would bury it in a traceback."""
        try:
            return self.load(keys)
        except DataError as failure:
            return failure


def _as_it_is(batch: Batch) -> Batch:
    return batch
