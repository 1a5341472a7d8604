"""A detector in an ONNX file, executed by ONNX Runtime on the CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from convslim.data.heads import Detections, Heads
from convslim.detection.picture import find
from convslim.errors import ExportError
from convslim.export.metadata import FileFacts

DETECTION = "detection"


class DetectorFile:
    """Float or int8 file of a detector; what it says of itself is in `facts`.

    Args:
        path: A file that a run's step `export` or `quantize` wrote.
        classes: Names in place of those of the file.
        threads: Of ONNX Runtime.
        heads: What the file's outputs mean; None for the detector that comes with convslim.

    Raises:
        ExportError: It cannot be loaded, is no detector, or does not say what its outputs mean.
    """

    def __init__(self, path: Path, classes: tuple[str, ...] = (), threads: int = 1, heads: Heads | None = None) -> None:
        import onnxruntime

        self._heads = heads

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exception classes share no base but Exception
            raise ExportError(f"{path} cannot be loaded: {error}. Give an ONNX file.") from error
        facts = FileFacts.from_metadata(self._session.get_modelmeta().custom_metadata_map, path.name)
        self.facts = replace(facts, classes=classes or facts.classes)
        self._input = self._session.get_inputs()[0]
        shape = self._input.shape
        if facts.task != DETECTION or len(shape) != 4 or not isinstance(shape[3], int) or shape[2] != shape[3]:
            raise ExportError(
                f"{path.name} is made for {facts.task} of images {shape}; boxes are found by files of detectors, "
                "(batch, 3, side, side)."
            )
        self.side: int = shape[3]

    def find(self, image: Image.Image, *, threshold: float = 0.3, overlap: float = 0.45) -> Detections:
        """What is in an RGB image, in its pixels; see :func:`convslim.detection.picture.find`."""
        facts = self.facts
        options = {"threshold": threshold, "overlap": overlap}
        return find(self._outputs, image, self.side, facts.mean, facts.std, heads=self._heads, **options)

    def _outputs(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        found = [torch.from_numpy(each) for each in self._session.run(None, {self._input.name: images.numpy()})]
        return found[0] if len(found) == 1 else tuple(found)
