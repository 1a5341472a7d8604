"""How good an ONNX file is on a split, executed by ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import torch

from convslim.data import ImageSplit
from convslim.errors import ConvslimError, ExportError
from convslim.train.task import Measured
from convslim.train.tasks import task_of

BATCH = 100


def evaluate_file(path: Path, split: ImageSplit, limit: int | None = None) -> Measured:
    """Measure a file as `evaluate` measures a network.

    Args:
        limit: Evaluate only the first `limit` images.

    Raises:
        ExportError: ONNX Runtime cannot run the file on these images.
        DataError: The split gave no image, or a target that the file does not know.
        ModelError: The file gives something else than the task needs.
    """
    import onnxruntime

    task = task_of(split)
    judge = task.judge(split)
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        for number, (images, targets) in enumerate(split.batches(BATCH, limit=limit)):
            positions = number * BATCH + torch.arange(len(images))
            found = [torch.from_numpy(each) for each in session.run(None, {name: images.numpy()})]
            outputs = found[0] if len(found) == 1 else tuple(found)
            judge.add_(task.checked(outputs, images, targets, path.name), targets, positions)
    except ConvslimError:
        raise
    except Exception as error:  # ONNX Runtime's exception classes share no base but Exception
        raise ExportError(f"{path} cannot be run on {split.input_shape} images: {error}.") from error
    return judge.measured()
