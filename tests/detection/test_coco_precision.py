"""COCO's averages by its library, against what is known of right and wrong boxes."""

import pytest
import torch

from convslim.data.heads import Detections
from convslim.data.objects import Objects
from convslim.detection.average_precision import class_precisions, mean_average_precision
from convslim.detection.coco_precision import coco_precision
from convslim.errors import DataError

pytest.importorskip("pycocotools")
BOXES = torch.tensor([[10.0, 10, 50, 60], [100, 20, 150, 90], [30, 100, 90, 180]])
LABELS = torch.tensor([0, 1, 0])


def detections(shift=0.0):
    return Detections(BOXES + shift, torch.tensor([0.9, 0.8, 0.7]), LABELS)


def test_exact_boxes_have_full_precision():
    found = coco_precision([detections()], [Objects.of(BOXES, LABELS)], 2)
    assert [found[name] for name in ("AP", "AP50", "AP75")] == pytest.approx([1.0, 1.0, 1.0])
    assert found["AP_small"] is None


def test_shifted_boxes_are_right_at_small_overlaps_only():
    found = coco_precision([detections(5.0)], [Objects.of(BOXES, LABELS)], 2)
    assert found["AP50"] == pytest.approx(1.0)
    assert 0.2 < found["AP"] < 0.8
    assert found["AP75"] < 1.0


def test_at_one_half_it_agrees_with_the_area():
    random = torch.Generator().manual_seed(0)
    objects, found = [], []
    for _ in range(30):
        corner = torch.rand(6, 2, generator=random) * 200
        boxes = torch.cat([corner, corner + 10 + torch.rand(6, 2, generator=random) * 60], 1)
        labels = torch.randint(2, (6,), generator=random)
        objects.append(Objects.of(boxes, labels))
        moved = boxes + torch.randn(6, 4, generator=random) * 6
        scores = torch.rand(6, generator=random).sort(descending=True).values
        found.append(Detections(moved, scores, labels))
    own = mean_average_precision(class_precisions(found, objects, 2))
    assert coco_precision(found, objects, 2)["AP50"] == pytest.approx(own, abs=0.02)


def test_nothing_found_and_other_numbers_of_images():
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert coco_precision([nothing], [Objects.of(BOXES, LABELS)], 2)["AP"] == 0.0
    with pytest.raises(DataError, match="detections of 1 images and objects of 2"):
        coco_precision([nothing], [Objects.of(BOXES, LABELS)] * 2, 2)
