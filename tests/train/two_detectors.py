"""Run by torchrun in `test_detection_distributed.py`, and imported there: a small detector, and a judge of boxes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convslim import models
from convslim.data import open_data
from convslim.data.heads import Detections
from convslim.data.objects import Objects
from convslim.train import DetectionMetrics, TrainConfig, evaluate, fit
from convslim.train.detection import PrecisionJudge

CONFIG = TrainConfig(epochs=2, batch_size=4, lr=1e-4, weight_decay=0, threads=1, seed=1, evaluate_every=2)


def trained(root: Path) -> Mapping[str, Any]:
    """A detector's training, and what it finds on five of the images that it was trained on."""
    data = open_data(f"voc:{root}", train="train", side=64, workers=0)
    torch.manual_seed(0)
    result = fit(models.create("yolov3_mobilenetv2", num_classes=2, width=0.1), data, CONFIG, quiet=True)
    found = evaluate(result.model, data.train, batch_size=3, limit=5)
    return {"losses": [epoch.train_loss for epoch in result.history], "loss": found.loss, "total": found.total}


class Drawn:
    """Boxes drawn by chance near the objects; outputs are the images' places."""

    def checked(self, outputs: Tensor, images: Tensor, targets: Sequence[Objects], name: str) -> Tensor:
        return outputs

    def guessing(self, num_objects: float) -> float:
        return 1.0

    def loss(self, outputs: Tensor, targets: Sequence[Objects], smoothing: float) -> Tensor:
        return outputs.double().mean()

    def detect(self, outputs: Tensor, *, threshold: float, overlap: float) -> list[Detections]:
        found = []
        for place in outputs.tolist():
            objects, draw = annotated(place), torch.Generator().manual_seed(place)
            boxes = objects.boxes + 2 * torch.randn(len(objects), 4, generator=draw)
            found.append(Detections(boxes, torch.rand(len(objects), generator=draw), objects.labels))
        return found


def annotated(place: int) -> Objects:
    """Some objects; there are images without."""
    draw = torch.Generator().manual_seed(1000 + place)
    corners = 40 * torch.rand(place % 4, 2, generator=draw)
    boxes = torch.cat([corners, corners + 12], 1)
    return Objects.of(boxes, torch.randint(2, (place % 4,), generator=draw), boxes[:, 0] > 30)


def judged(rank: int, world_size: int, images: int) -> DetectionMetrics:
    """The precision of the boxes in some images, of which this process sees its share."""
    judge = PrecisionJudge(("cat", "dog"), Drawn(), coco=True)
    places = torch.arange(rank, images, world_size)
    for share in places.split(3):
        judge.add_(share, [annotated(place) for place in share.tolist()], share)
    if world_size > 1:
        judge.gather_(torch.device("cpu"))
    return judge.measured()


def main(root: Path, out: Path) -> None:
    """Every process says what it found."""
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    facts = {"trained": trained(root), "judged": judged(rank, world_size, 33).record_fields()}
    (out / f"{rank}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
