"""Average precision against cases computed by hand."""

import numpy as np
import pytest
import torch

from convslim.data.heads import Detections
from convslim.data.objects import Objects
from convslim.detection.average_precision import average_precision, class_precisions, mean_average_precision
from convslim.errors import DataError

BOX = torch.tensor([0.0, 0, 10, 10])


def found(*rows):
    """Rows: shift of the box, score, label."""
    boxes = torch.stack([BOX + shift for shift, _, _ in rows]) if rows else torch.zeros(0, 4)
    return Detections(boxes, torch.tensor([float(s) for _, s, _ in rows]), torch.tensor([int(n) for *_, n in rows]))


def wanted(*rows):
    """Rows: shift of the box, label, difficult."""
    boxes = torch.stack([BOX + shift for shift, _, _ in rows]) if rows else torch.zeros(0, 4)
    labels = torch.tensor([label for _, label, _ in rows])
    return Objects.of(boxes, labels, torch.tensor([hard for *_, hard in rows], dtype=torch.bool))


def only(detections, objects, **options):
    return class_precisions(detections, objects, 1, **options)[0]


def test_by_hand():
    """Right, wrong, right of two objects: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1."""
    result = only(
        [found((0, 0.9, 0), (50, 0.8, 0)), found((0, 0.7, 0))], [wanted((0, 0, False)), wanted((0, 0, False))]
    )
    np.testing.assert_allclose(result.precision, [1, 1 / 2, 2 / 3])
    np.testing.assert_allclose(result.recall, [0.5, 0.5, 1])
    assert result.average_precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert result.num_objects == 2


def test_eleven_points_by_hand():
    """Precision 1 up to recall 0.5 (six points), 2/3 behind (five points)."""
    result = only(
        [found((0, 0.9, 0), (50, 0.8, 0)), found((0, 0.7, 0))],
        [wanted((0, 0, False)), wanted((0, 0, False))],
        how="11-point",
    )
    assert result.average_precision == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)


def test_a_second_detection_of_an_object_is_wrong():
    result = only([found((0, 0.9, 0), (1, 0.8, 0))], [wanted((0, 0, False))])
    np.testing.assert_allclose(result.precision, [1, 0.5])
    assert result.average_precision == 1.0


def test_difficult_objects_count_neither_way():
    result = only([found((0, 0.9, 0), (100, 0.8, 0))], [wanted((0, 0, False), (100, 0, True))])
    assert (result.average_precision, len(result.precision), result.num_objects) == (1.0, 1, 1)


def test_overlap_decides():
    detections, objects = [found((3, 0.9, 0))], [wanted((0, 0, False))]  # IoU 49 / 151
    assert only(detections, objects).average_precision == 0.0
    assert only(detections, objects, overlap=0.3).average_precision == 1.0


def test_classes_are_apart_and_those_without_objects_do_not_count():
    results = class_precisions([found((0, 0.9, 1))], [wanted((0, 1, False))], 3)
    assert [result.average_precision for result in results] == [None, 1.0, None]
    assert mean_average_precision(results) == 1.0


def test_nothing_detected():
    assert only([found()], [wanted((0, 0, False))]).average_precision == 0.0


def test_nothing_to_detect():
    with pytest.raises(DataError, match="No object counts"):
        mean_average_precision(class_precisions([found((0, 0.5, 0))], [wanted()], 1))


def test_other_numbers_of_images_are_refused():
    with pytest.raises(DataError, match="detections of 1 images and objects of 2"):
        class_precisions([found()], [wanted(), wanted()], 1)


@pytest.mark.parametrize("how", ["area", "11-point"])
def test_perfect_curves_average_to_one(how):
    assert average_precision(np.ones(4), np.array([0.25, 0.5, 0.75, 1.0]), how) == pytest.approx(1.0)
