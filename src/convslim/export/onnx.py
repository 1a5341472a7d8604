"""Export to ONNX, proven on the file itself."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convslim.errors import ArtifactError, ExportError
from convslim.export.metadata import FileFacts, annotate

INPUT, OUTPUT = "input", "output"


@dataclass(frozen=True)
class ExportReport:
    """What was written and how well it agrees with PyTorch.

    `max_error` is the largest |ONNX Runtime − PyTorch| over all outputs and `batch_sizes`, relative to the
    largest |PyTorch| output (at least 1).
    """

    path: Path
    bytes: int
    max_error: float
    opset: int
    batch_sizes: tuple[int, ...]


def export_onnx(
    model: nn.Module,
    example_input: Tensor,
    path: str | Path,
    *,
    opset: int = 18,
    dynamic_batch: bool = True,
    tolerance: float = 1e-4,
    facts: FileFacts | None = None,
) -> ExportReport:
    """Write a model as one ONNX file and run that file against PyTorch.

    The file appears at `path` only after the ONNX checker accepted it and ONNX Runtime gave PyTorch's
    outputs on random images of two batch sizes (one, without `dynamic_batch`). The model is left as it was
    found.

    Args:
        example_input: (N, C, H, W) images; the shape counts, and the batch too without `dynamic_batch`.
        tolerance: largest relative error allowed, see `ExportReport.max_error`.
        facts: what the file says of itself, for `convslim predict`.

    Raises:
        ExportError: the model cannot be exported, or the file is wrong or disagrees.
        ArtifactError: the file cannot be written.
    """
    path = Path(path)
    still = copy.deepcopy(model).eval().cpu()
    example = exportable(example_input, dynamic_batch)
    with placed(path) as temporary:
        write(still, example, temporary, opset, dynamic_batch)
        annotate(temporary, facts)
        batch_sizes = (1, 3) if dynamic_batch else (len(example),)
        error = _compare(still, example, temporary, batch_sizes)
        if not error <= tolerance:
            raise ExportError(
                f"ONNX Runtime's outputs differ from PyTorch's by {error:.2e} (relative), above the "
                f"tolerance {tolerance:.0e}; no file was written. Raise `tolerance` only if you know why."
            )
    return ExportReport(path, path.stat().st_size, error, opset, batch_sizes)


def exportable(images: Tensor, dynamic_batch: bool) -> Tensor:
    """Images to export with: two at least for a free batch, since torch.export takes a batch of one for a constant."""
    images = images.detach().cpu()
    return torch.cat([images, images]) if dynamic_batch and len(images) < 2 else images


@contextlib.contextmanager
def placed(path: Path) -> Iterator[Path]:
    """A file to write and to check; what it holds in the end appears at `path`, and nothing does after an error.

    Raises:
        ArtifactError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp.onnx")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise ArtifactError(f"Cannot write {path}: {error}. Choose another folder, or free some space.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write(model: nn.Module, example: Tensor, path: Path, opset: int, dynamic_batch: bool) -> None:
    """Let ``torch.onnx`` write a file, and the ONNX checker read it.

    Raises:
        ExportError: If either fails.
        OSError: If the file cannot be written.
    """
    import onnx

    dynamic_shapes = ({0: torch.export.Dim("batch")},) if dynamic_batch else None
    try:
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                model,
                (example,),
                path,
                dynamo=True,
                external_data=False,
                opset_version=opset,
                dynamic_shapes=dynamic_shapes,
                input_names=[INPUT],
                output_names=[OUTPUT],
                verbose=False,
            )
        onnx.checker.check_model(onnx.load(path), full_check=True)
    except OSError:
        raise
    except Exception as error:  # the exporter wraps causes of every kind
        cause = error.__cause__ or error
        lines = str(cause).strip().splitlines() or [""]
        raise ExportError(
            f"{type(model).__name__} cannot be exported to ONNX (opset {opset}): {type(cause).__name__}: "
            f"{lines[0]} Data-dependent Python code in `forward` is the usual cause; torch.export.export "
            "on the model shows where."
        ) from error


def _compare(model: nn.Module, example: Tensor, path: Path, batch_sizes: tuple[int, ...]) -> float:
    """Largest relative difference between the file's outputs and the model's."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        worst = 0.0
        generator = torch.Generator().manual_seed(0)
        for size in batch_sizes:
            images = torch.randn(size, *example.shape[1:], generator=generator, dtype=example.dtype)
            with torch.no_grad():
                expected = _tensors(model(images))
            found = session.run(None, {session.get_inputs()[0].name: images.numpy()})
            for one, other in zip(expected, found, strict=True):
                scale = max(float(np.abs(one).max()), 1.0)
                worst = max(worst, float(np.abs(one - other).max()) / scale)
    except Exception as error:  # ONNX Runtime's exception classes share no base but Exception
        raise ExportError(
            f"ONNX Runtime cannot run the exported {type(model).__name__}: {type(error).__name__}: {error}. "
            "Another opset may help."
        ) from error
    return worst


def _tensors(output: Any) -> list[np.ndarray[Any, Any]]:
    if isinstance(output, Tensor):
        return [output.numpy()]
    if isinstance(output, dict):
        output = list(output.values())
    return [array for entry in output for array in _tensors(entry)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's warnings, log lines and prints to itself."""
    before = logging.root.manager.disable
    streams = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with warnings.catch_warnings(), streams[0], streams[1]:
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)
