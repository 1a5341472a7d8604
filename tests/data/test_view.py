"""Views: one matrix for pixels and boxes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convslim.data.objects import Objects
from convslim.data.view import GRAY, letterbox, mirror, quadrilateral, scaling, shift, view_boxes, view_objects, warp


def picture(width, height, box):
    """White where the box is, black elsewhere."""
    pixels = np.zeros((height, width, 3), np.uint8)
    left, top, right, bottom = box
    pixels[top:bottom, left:right] = 255
    return Image.fromarray(pixels)


def extent(pixels):
    """The box around what is white."""
    rows, columns = np.nonzero(pixels[..., 0] > 127)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 20), st.integers(2, 20), st.integers(8, 20), st.integers(8, 20), st.booleans())
def test_pixels_and_boxes_go_the_same_way(left, top, width, height, flipped):
    box = (left, top, left + width, top + height)
    view = letterbox(60, 45, 128)
    view = mirror(128) @ view if flipped else view
    found = extent(warp(picture(60, 45, box), view, 128))
    assert view_boxes(torch.tensor([box]), view)[0].numpy() == pytest.approx(found, abs=1.01)


def test_shrinking_averages():
    """Alternating columns become gray, whichever column a plain sampling would have hit."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, ::2] = 200
    small = warp(Image.fromarray(pixels), letterbox(64, 64, 16), 16)
    assert small.min() >= 95
    assert small.max() <= 105


def test_borders_are_gray():
    found = warp(picture(40, 20, (0, 0, 40, 20)), letterbox(40, 20, 40), 40)
    assert (found[:9] == GRAY).all()
    assert (found[31:] == GRAY).all()
    assert (found[11:29] == 255).all()


def test_four_points_go_to_four_points():
    source = [(0, 0), (10, 0), (10, 8), (0, 8)]
    target = [(1, 2), (11, 0), (9, 9), (0, 7)]
    view = quadrilateral(source, target)
    found = np.c_[np.array(source, float), np.ones(4)] @ view.T
    np.testing.assert_allclose(found[:, :2] / found[:, 2:], target, atol=1e-9)


def test_objects_that_are_hardly_seen_are_left_out():
    boxes = torch.tensor([[0.0, 0, 10, 10], [8, 0, 18, 10], [2, 2, 3, 8], [30, 30, 40, 40]])
    objects = Objects.of(boxes, torch.arange(4), torch.tensor([False, True, False, False]))
    found = view_objects(objects, shift(0, 0), 10)
    assert found.labels.tolist() == [0]
    found = view_objects(objects, scaling(2, 2), 20, visible=0.1)
    assert found.labels.tolist() == [0, 1, 2]
    assert found.boxes[1].tolist() == [16, 0, 20, 20]
    assert found.difficult.tolist() == [False, True, False]


def test_no_objects_stay_none():
    found = view_objects(Objects.of(torch.zeros(0, 4), torch.zeros(0)), mirror(10), 10)
    assert found.boxes.shape == (0, 4)
