"""torchvision's detection operators where its compiled library does not load."""

import importlib.util

import pytest
import torch

from convslim import compat
from convslim.models import create

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="needs torchvision")


def random_boxes(number):
    corners = torch.rand(number, 2) * 20
    return torch.cat([corners, corners + torch.rand(number, 2) * 20], dim=1)


def overlap(left, right):
    """Intersection over union of two boxes, one number after the other."""
    width = min(left[2], right[2]) - max(left[0], right[0])
    height = min(left[3], right[3]) - max(left[1], right[1])
    common = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (left, right)]
    return common / (sum(areas) - common)


@pytest.mark.parametrize("number", [0, 1, 60])
def test_nms_keeps_what_overlaps_no_better_box(number):
    boxes, scores = random_boxes(number), torch.rand(number)
    kept = []
    for index in scores.argsort(descending=True).tolist():
        if all(overlap(boxes[index].tolist(), boxes[other].tolist()) <= 0.3 for other in kept):
            kept.append(index)
    assert compat._nms(boxes, scores, 0.3).tolist() == kept
    assert number < 2 or 1 < len(kept) < number


def test_operators_are_reached_through_torchvision():
    ops = compat.import_optional("torchvision").ops
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]])
    assert ops.nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.5).tolist() == [1, 2]
    assert ops.batched_nms(boxes, torch.tensor([0.5, 0.9, 0.1]), torch.tensor([0, 1, 0]), 0.5).tolist() == [1, 0, 2]


def test_roi_align_of_a_slope_is_its_value_at_the_middle_of_every_bin():
    ops = compat.import_optional("torchvision").ops
    slope = torch.arange(16.0).expand(1, 1, 16, 16)
    found = ops.roi_align(slope, torch.tensor([[0.0, 2, 2, 10, 10]]), (2, 2), aligned=True)
    assert found.flatten().tolist() == pytest.approx([3.5, 7.5, 3.5, 7.5])


def test_roi_align_has_a_gradient():
    ops = compat.import_optional("torchvision").ops
    features = torch.randn(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[0.0, 0.5, 1, 4, 5], [0, 2, 0, 5, 3]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: ops.roi_align(x, boxes, (2, 3), sampling_ratio=2), features)


def test_whole_detector_finds_and_learns():
    small = {"min_size": 64, "max_size": 64, "rpn_post_nms_top_n_test": 5, "box_score_thresh": 0.0}
    model = create(
        "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn", weights=None, weights_backbone=None, num_classes=3, **small
    )
    with torch.no_grad():
        found = model.eval()([torch.rand(3, 64, 64)])[0]
    assert set(found) == {"boxes", "labels", "scores"}
    assert len(found["boxes"]) > 0
    target = {"boxes": torch.tensor([[5.0, 5, 40, 50]]), "labels": torch.tensor([1])}
    losses = model.train()([torch.rand(3, 64, 64)] * 2, [target] * 2)
    sum(losses.values()).backward()
    assert model.backbone.fpn.layer_blocks[0][0].weight.grad.abs().sum() > 0
