"""One box per object."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convslim.detection.boxes import iou
from convslim.detection.decode import Predictions
from convslim.detection.suppress import detect, suppress
from convslim.errors import DataError


def plain(boxes, labels, overlap):
    """Box by box: it stays if no box that stays before it, of its class, overlaps it more."""
    stays = []
    for number in range(len(boxes)):
        rivals = [k for k in stays if labels[k] == labels[number]]
        if all(float(iou(boxes[k], boxes[number])) <= overlap for k in rivals):
            stays.append(number)
    return stays


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 25), st.integers(0, 1000), st.sampled_from([0.0, 0.3, 0.45, 1.0]))
def test_suppression_is_that_of_a_plain_loop(count, seed, overlap):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 20
    boxes = torch.cat([corner, corner + torch.rand(count, 2, generator=generator) * 15 + 1], 1)
    labels = torch.randint(0, 3, (count,), generator=generator)
    assert suppress(boxes, labels, overlap).tolist() == plain(boxes, labels.tolist(), overlap)


def predictions():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [1, 0, 11, 10], [40, 40, 50, 50], [0, 0, 10, 10]]])
    classes = torch.tensor([[[4.0, -9.0], [6.0, -9.0], [-9.0, 2.0], [-9.0, 3.0]]])
    return Predictions(boxes, torch.full((1, 4), 9.0), classes)


def test_detections_come_surest_first_and_classes_do_not_compete():
    (found,) = detect(predictions(), threshold=0.5)
    assert found.labels.tolist() == [0, 1, 1]
    assert found.boxes[0].tolist() == [1.0, 0.0, 11.0, 10.0]
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)


def test_limits():
    assert len(detect(predictions(), threshold=0.0, limit=2)[0].scores) == 2
    assert len(detect(predictions(), threshold=0.999)[0].scores) == 0
    with pytest.raises(DataError, match=r"threshold=1.5 must lie between 0 and 1"):
        detect(predictions(), threshold=1.5)
