"""Overlaps of boxes against loops over numbers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convslim.detection.boxes import area, generalized_iou, iou

numbers = st.integers(-20, 20)
boxes = st.lists(st.tuples(numbers, numbers, st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=4)


def plain(a, b):
    """IoU and generalized IoU of two boxes, number by number."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    common = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return (common / union, common / union - (hull - union) / hull) if union and hull else None


@settings(deadline=None)
@given(boxes, boxes)
def test_overlaps_are_those_of_plain_numbers(left, right):
    one = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in left], dtype=torch.float64)
    two = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in right], dtype=torch.float64)
    found, general = iou(one[:, None], two[None]), generalized_iou(one[:, None], two[None])
    assert found.shape == general.shape == (len(one), len(two))
    for i, j in ((i, j) for i in range(len(one)) for j in range(len(two))):
        expected = plain(one[i].tolist(), two[j].tolist())
        if expected is not None:
            assert float(found[i, j]) == pytest.approx(expected[0], abs=1e-12)
            assert float(general[i, j]) == pytest.approx(expected[1], abs=1e-12)
    assert torch.isfinite(general).all()
    assert torch.isfinite(found).all()


def test_boxes_turned_inside_out_have_no_area():
    assert area(torch.tensor([[3.0, 3, 1, 5], [0, 0, 2, 3]])).tolist() == [0.0, 6.0]


def test_far_boxes_pull_at_each_other():
    """The IoU of boxes apart is 0 everywhere; the generalized one has a slope towards the other box."""
    box = torch.tensor([0.0, 0, 2, 2], requires_grad=True)
    generalized_iou(box, torch.tensor([10.0, 0, 12, 2])).backward()
    assert box.grad is not None
    assert float(box.grad[2]) > 0
