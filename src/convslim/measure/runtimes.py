"""What can be timed: ONNX files in two runtimes, and networks in PyTorch, each made ready for one batch size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from convslim.errors import ArtifactError
from convslim.measure.session import Feeds, open_session, random_feeds

Call = Callable[[], object]

ONNX_RUNTIME, OPENVINO, EAGER, COMPILED = "onnxruntime", "openvino", "eager", "compiled"
EXTRAS: Final = (OPENVINO, COMPILED)
"""Runtimes that are only measured when asked for."""


@dataclass(frozen=True)
class Subject:
    """Something to time.

    Attributes:
        name: What the user calls it.
        runtime: What runs it.
        prepare: A batch size → one call with random images. Raises ArtifactError where that cannot be.
    """

    name: str
    runtime: str
    prepare: Callable[[int], Call]


def onnx_file(path: Path, *, threads: int = 1, shape: Sequence[int] | None = None) -> Subject:
    """An ONNX file in ONNX Runtime on the CPU.

    Args:
        shape: of one image, where the file leaves it open.

    Raises:
        ArtifactError: the file is missing or no ONNX model.
    """
    session = open_session(path, threads)

    def prepare(batch: int) -> Call:
        return partial(session.run, None, dict(random_feeds(session, batch, shape, str(path))))

    return Subject(str(path), ONNX_RUNTIME, prepare)


def onnx_file_in_openvino(path: Path, *, threads: int = 1, shape: Sequence[int] | None = None) -> Subject:
    """The same file in OpenVINO on the CPU; float32 stays float32 where the processor could do with bfloat16.

    Raises:
        ArtifactError: the file is missing or no ONNX model.
    """
    session = open_session(path, threads)

    def prepare(batch: int) -> Call:
        return _openvino(path, random_feeds(session, batch, shape, str(path)), threads)

    return Subject(str(path), OPENVINO, prepare)


@cache
def _core(openvino: Any) -> Any:
    """The package's core, one for all: it gives the process another stack for signals, which a second one that goes
    later than the first leaves pointing at freed memory; then the next child that ends kills the process.
    """
    return openvino.Core()


def _openvino(path: Path, feeds: Feeds, threads: int) -> Call:
    try:
        import openvino
    except ImportError as error:
        raise ArtifactError("OpenVINO is not installed: pip install openvino.") from error
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    try:
        core = _core(openvino)
        model = core.read_model(path)
        model.reshape({name: list(values.shape) for name, values in feeds.items()})
        request = core.compile_model(model, "CPU", options).create_infer_request()
    except Exception as error:  # OpenVINO raises RuntimeError and children of Exception of its own
        raise ArtifactError(f"OpenVINO cannot run {path}: {str(error).strip().splitlines()[-1]}") from error
    return partial(request.infer, dict(feeds))


def network(name: str, model: nn.Module, example_input: Tensor, *, compiled: bool = False) -> Subject:
    """A network in PyTorch, in evaluation mode and without gradients; its threads are PyTorch's own.

    Args:
        example_input: (N, C, H, W) images; the batch does not count.
        compiled: with ``torch.compile``.
    """
    still = model.eval()
    run = torch.compile(still) if compiled else still

    def prepare(batch: int) -> Call:
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(batch, *example_input.shape[1:], generator=generator)

        def call() -> object:
            with torch.inference_mode():
                return run(images)

        return call

    return Subject(name, COMPILED if compiled else EAGER, prepare)
