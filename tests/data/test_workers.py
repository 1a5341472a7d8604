"""Batches loaded beside the main process: in order, and errors as errors."""

import pytest

from convslim.data.workers import in_workers
from convslim.errors import DataError


def doubled(keys: list[int]) -> list[int]:
    if 7 in keys:
        raise DataError("there is no 7")
    return [2 * key for key in keys]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order(workers):
    assert list(in_workers(doubled, [[1, 2], [3], [4, 5]], workers)) == [[2, 4], [6], [8, 10]]


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_come_where_they_were_made(workers):
    loaded = in_workers(doubled, [[1], [7], [2]], workers)
    assert next(loaded) == [2]
    with pytest.raises(DataError, match="there is no 7"):
        next(loaded)
