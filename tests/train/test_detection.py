"""The detector in the same loop as classifiers: learns, resumes bit for bit, is judged, and says what does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.data.voc_sample import write_sample
from torch import Tensor, nn

from convslim import models
from convslim.data import DataSource, open_data
from convslim.data.detection import DetectionSplit
from convslim.data.objects import Objects
from convslim.errors import DataError, ModelError, TrainingError
from convslim.train import DetectionMetrics, EpochMetrics, TrainConfig, evaluate, fit, recalibrate
from convslim.train.detection import CURVE, Detection

SIDE = 64
ADAM: dict[str, Any] = {"optimizer": "adam", "weight_decay": 0, "clip_norm": 10, "threads": 1}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> DataSource:
    root = write_sample(tmp_path_factory.mktemp("voc") / "sample", images=12, side=SIDE)
    return open_data(f"voc:{root}", train="train", side=SIDE, workers=0)


def detector(width: float = 0.1, num_classes: int = 2) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return models.create("yolov3_mobilenetv2", num_classes=num_classes, width=width)


def test_it_learns_eight_images_by_heart(source: DataSource):
    eight = source.train.subset(torch.arange(8))
    config = TrainConfig(
        epochs=90, batch_size=8, lr=4e-3, warmup_epochs=10, augment=False, evaluate_every=90, precision="bf16", **ADAM
    )
    result = fit(detector(0.25), replace(source, train=eight, test=eight), config, quiet=True)
    last = result.history[-1]
    assert last.test_map is not None
    assert last.test_map > 0.95
    assert last.test_accuracy is last.train_accuracy is None
    assert last.train_loss < result.history[0].train_loss / 20


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.9, "precision": "bf16"}], ids=["adam", "bf16-ema"])
def test_resumed_training_equals_an_uninterrupted_one_bit_for_bit(
    source: DataSource, tmp_path: Path, changes: dict[str, Any]
):
    config = TrainConfig(epochs=2, batch_size=4, lr=1e-3, evaluate_every=2, **ADAM, **changes)
    whole = fit(detector(), source, config, quiet=True)

    def stop(metrics: EpochMetrics) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(detector(), source, config, out=tmp_path, on_epoch=stop, quiet=True)
    resumed = fit(detector(), source, config, out=tmp_path, resume=True, quiet=True)
    pairs = zip(whole.model.state_dict().values(), resumed.model.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert resumed.history[-1].test_map == whole.history[-1].test_map


class Oracle(nn.Module):
    """Says exactly what is in the images, in the order in which they come."""

    def __init__(self, split: DetectionSplit, wrong: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.objects = [found for _, objects in split.batches(100) for found in objects]
        self.wrong, self.seen = wrong, 0

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = [torch.full((len(images), 3, 7, SIDE // s, SIDE // s), -20.0) for s in (8, 16, 32)]
        for image in range(len(images)):
            found = self.objects[self.seen]
            self.seen += 1
            taken: dict[tuple[int, int], int] = {}
            for box, label in zip(found.boxes, found.labels, strict=True):
                column, row = ((box[:2] + box[2:]) / 16).long().tolist()
                slot = taken.setdefault((column, row), -1) + 1
                taken[column, row] = slot
                middle = torch.tensor([column + 0.5, row + 0.5])
                values = torch.cat([middle - box[:2] / 8, box[2:] / 8 - middle]).log()
                maps[0][image, slot, :4, row, column] = values
                maps[0][image, slot, 4, row, column] = 10.0
                maps[0][image, slot, 5 + (int(label) + self.wrong) % 2, row, column] = 10.0
        return tuple(each.flatten(1, 2) for each in maps)


def test_average_precision_of_what_is_known_to_be_right_and_wrong(source: DataSource):
    assert isinstance(source.test, DetectionSplit)
    found = evaluate(Oracle(source.test), source.test, batch_size=2)
    assert isinstance(found, DetectionMetrics)
    assert found.value == pytest.approx(1.0)
    assert found.eleven_point == pytest.approx(1.0)
    assert found.total == len(source.test) == 3
    assert evaluate(Oracle(source.test, wrong=1), source.test).value == 0.0
    record = found.record_fields()
    assert [each["name"] for each in record["classes"]] == ["disc", "square"]
    assert sum(each["num_objects"] for each in record["classes"]) == sum(
        len(image.objects) for image in source.test.annotated.images
    )
    assert all(len(each["recall"]) == len(each["precision"]) <= CURVE for each in record["classes"])
    assert (record["measure"], record["value"]) == ("mAP@0.5", found.value)


def test_statistics_are_re_estimated(source):
    model = detector()
    fresh = recalibrate(model, source.train, num_batches=2, batch_size=4)
    assert not torch.equal(fresh.features[0][1].running_mean, model.features[0][1].running_mean)


def test_what_does_not_fit_is_named(source: DataSource):
    with pytest.raises(DataError, match="Objects have classes up to 1, but YOLOv3MobileNetV2 knows 1"):
        evaluate(detector(num_classes=1), source.test)
    with pytest.raises(ModelError, match="Flatten returned Tensor for a batch of shape"):
        evaluate(nn.Flatten(), source.test)
    empty = [Objects.of(torch.zeros(0, 4), torch.zeros(0))]
    checked = Detection().checked(detector().eval()(torch.zeros(1, 3, 64, 32)), torch.zeros(1, 3, 64, 32), empty, "it")
    assert checked.strides == (8, 16, 32)


def test_images_without_objects_cannot_judge(source: DataSource):
    assert isinstance(source.test, DetectionSplit)
    images = tuple(
        replace(image, objects=Objects.of(torch.zeros(0, 4), torch.zeros(0))) for image in source.test.annotated.images
    )
    nothing = replace(source.test, annotated=replace(source.test.annotated, images=images))
    with pytest.raises(DataError, match="No object counts in these images"):
        evaluate(detector(), nothing)


def test_divergence_is_told(source: DataSource):
    config = TrainConfig(
        epochs=3, batch_size=4, lr=30.0, optimizer="sgd", divergence_factor=1.001, divergence_patience=1, threads=1
    )
    with pytest.raises(TrainingError, match="the loss"):
        fit(detector(), source, config, quiet=True)
