"""How many images a core decodes and augments, against how many a core trains on: does the loader keep up?

    CONVSLIM_DATA=/data python benchmarks/detection_loader.py     # a minute of one core

BCCD (640 × 480 JPEG files) with all of the training's augmentation, and training steps of the detector, both in this
process, one thread, processor time, in turn. Workers decode beside the training, so one worker keeps up with as many
training cores as the last column says.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from convslim.data import open_data
from convslim.data.objects import Objects
from convslim.models import create
from convslim.train import TrainConfig
from convslim.train.task import Task
from convslim.train.tasks import task_of

SETTINGS = ((192, 0.5, 8), (320, 1.0, 8), (512, 1.0, 4))
"""Side, width of the network, images of a batch."""
ROUNDS = 3


def stepper(width: float, task: Task) -> Callable[[Tensor, list[Objects]], None]:
    """A function that does one training step in bf16, as the recipe does."""
    model = create("yolov3_mobilenetv2", num_classes=3, width=width).train()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer, config = torch.optim.Adam(model.parameters(), 1e-4), TrainConfig(epochs=1)

    def step(images: Tensor, objects: list[Objects]) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            outputs = model(images.contiguous(memory_format=torch.channels_last))
        loss = task.loss(task.checked(outputs, images, objects, "the detector"), objects, config)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def measure(root: Path, side: int, width: float, batch: int) -> str:
    """One row of the table."""
    split = open_data(f"voc:{root}", side=side, workers=0).train
    step = stepper(width, task_of(split))
    loading, training, images = [], [], []
    for number in range(ROUNDS + 1):
        begin = time.process_time()
        inputs, objects = next(iter(split.batches(batch, seed=number, augment=True)))
        middle = time.process_time()
        step(inputs, objects)
        loading.append(middle - begin)
        training.append(time.process_time() - middle)
        images.append(len(inputs))
    load, train = (sum(images[1:]) / sum(times[1:]) for times in (loading, training))
    return f"| {side} | {width} | {load:.1f} | {train:.1f} | {load / train:.1f} |"


def main() -> None:
    root = Path(os.environ.get("CONVSLIM_DATA", "../shared/data"), "bccd")
    if not root.is_dir():
        sys.exit(f"skipped: there is no {root}; set CONVSLIM_DATA to the folder that holds bccd/")
    torch.set_num_threads(1)
    print("| side | width | decoded images/s | trained images/s | training cores that one worker feeds |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for setting in SETTINGS:
        print(measure(root, *setting), flush=True)


if __name__ == "__main__":
    main()
