"""ONNX files in ONNX Runtime on the CPU, and input for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from convslim.errors import ArtifactError

Feeds = Mapping[str, npt.NDArray[Any]]

TYPES: Final[Mapping[str, type[np.generic]]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


def open_session(model: str | Path | bytes, threads: int = 1, *, profile: Path | None = None) -> Any:
    """A session of ONNX Runtime on the CPU.

    Args:
        model: a file, or its content.
        threads: intra-op threads.
        profile: beginning of the path of the file that `end_profiling` writes; None writes none.

    Raises:
        ArtifactError: the file is missing or no ONNX model.
    """
    import onnxruntime  # heavy, and not needed to time a function

    place = "the model" if isinstance(model, bytes) else str(model)
    if not isinstance(model, bytes) and not Path(model).is_file():
        raise ArtifactError(f"There is no ONNX file {place} to measure. Export the model first.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a dozen exception classes, all children of Exception only
        raise ArtifactError(f"ONNX Runtime cannot load {place}: {error}. Export the model anew.") from error


def random_feeds(session: Any, batch: int, shape: Sequence[int] | None = None, place: str = "The file") -> Feeds:
    """Random values for every input of a session.

    Args:
        batch: for the first axis, where the file leaves it open.
        shape: of one image, (C, H, W), for a first input that leaves more open.
        place: what messages call the file.

    Raises:
        ArtifactError: the file does not take this batch or shape, or its sizes or types are not known.
    """
    rng = np.random.default_rng(0)
    feeds = {}
    for position, entry in enumerate(session.get_inputs()):
        size = _size(entry, batch, shape if position == 0 else None, place)
        if entry.type not in TYPES:
            raise ArtifactError(f"{place}: its input {entry.name!r} is a {entry.type}; known are {', '.join(TYPES)}.")
        kind = TYPES[entry.type]
        whole = np.issubdtype(kind, np.integer)
        feeds[entry.name] = (rng.integers(0, 2, size) if whole else rng.standard_normal(size)).astype(kind)
    return feeds


def _size(entry: Any, batch: int, shape: Sequence[int] | None, place: str) -> tuple[int, ...]:
    """The axes of one input as numbers."""
    asked = [batch, *shape] if shape is not None else [batch] + [0] * (len(entry.shape) - 1)
    fits = len(asked) == len(entry.shape) and all(
        not isinstance(own, int) or wanted in (own, 0) for own, wanted in zip(entry.shape, asked, strict=True)
    )
    if not fits:
        raise ArtifactError(
            f"{place} takes {_words(entry.shape)} at {entry.name!r}, which is not batch {batch}"
            f"{'' if shape is None else f' of {_words(shape)}'}. Give another batch or input shape, or export the "
            "model with a dynamic batch."
        )
    size = tuple(own if isinstance(own, int) else wanted for own, wanted in zip(entry.shape, asked, strict=True))
    if 0 in size:
        raise ArtifactError(
            f"{place} leaves sizes of {entry.name!r} open, {_words(entry.shape)}; say which to measure, for example "
            "--input 3,224,224."
        )
    return size


def _words(shape: Sequence[Any]) -> str:
    return f"({', '.join(str(size) for size in shape)})"
