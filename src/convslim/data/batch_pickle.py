"""Read a batch of CIFAR-10's python layout, a pickle, without running anything that stands in it.

Unpickling calls whatever the file names. Here a file may name only what the official batches need to rebuild
one NumPy array, and even these names stand for plain records of this module: nothing outside it is imported
or called. Any other name, wrong types and truncated files are refused with a `DataError`.
"""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convslim.errors import DataError


@dataclass
class _DType:
    """Stands for `numpy.dtype`."""

    name: object

    def __setstate__(self, state: object) -> None:
        """Byte order and padding say nothing about single bytes."""


@dataclass
class _Array:
    """Stands for `numpy.ndarray`: keeps the state that NumPy would have been given."""

    state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


def _dtype(name: object, *_: object) -> _DType:
    return _DType(name)


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _encode(text: object, encoding: object) -> bytes:
    """Bytes as Python 3 writes them for protocol 2."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"_codecs.encode is allowed for latin1 text only, not {encoding!r}")
    return text.encode("latin1")


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Only the names in `_ALLOWED`, and never the real things."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no CIFAR-10 batch needs")
        return _ALLOWED[module, name]


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one file of the python layout.

    Returns:
        uint8 (N, 3072), red, green and blue plane after one another; and labels, int64 (N,).

    Raises:
        DataError: the file is truncated, names anything but arrays of bytes, or is not a CIFAR-10 batch.
    """
    try:
        with path.open("rb") as file:
            content = _Reader(file, encoding="bytes").load()
    except OSError as failure:
        raise DataError(f"{path} cannot be read: {failure}.") from failure
    except Exception as failure:  # a damaged pickle raises nearly anything
        raise DataError(
            f"{path} is not a batch of CIFAR-10's python layout: {type(failure).__name__}: {failure}. "
            "It was not executed. Get the official file again."
        ) from failure
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}; a CIFAR-10 batch is a dict.")
    content = {key.decode() if isinstance(key, bytes) else key: value for key, value in content.items()}
    labels = content.get("labels")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DataError(f"{path} has no list of whole numbers under 'labels'; it is not a CIFAR-10 batch.")
    return _images(content.get("data"), len(labels), path), np.asarray(labels, dtype=np.int64)


def _images(array: object, num_images: int, path: Path) -> np.ndarray:
    """The array under 'data', checked and built from its bytes."""
    state = array.state if isinstance(array, _Array) else None
    match state:
        case (int(), (int() as rows, 3072), _DType(name=("u1" | b"u1")), (False | 0), bytes() as raw):
            if rows == num_images and len(raw) == math.prod((rows, 3072)):
                return np.frombuffer(raw, dtype=np.uint8).reshape(rows, 3072)
    raise DataError(f"{path} has no uint8 array of {num_images} × 3072 under 'data'; it is not a CIFAR-10 batch.")
