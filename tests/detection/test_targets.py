"""Where objects belong."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convslim.data.objects import Objects
from convslim.detection.decode import centers
from convslim.detection.targets import assign

SIZES, STRIDES = [(8, 8), (4, 4), (2, 2)], [8, 16, 32]
STARTS = [0, 8 * 8 * 3, 8 * 8 * 3 + 4 * 4 * 3]


def objects(*boxes):
    return Objects.of(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.zeros(len(boxes)))


def test_size_tells_the_scale_and_center_the_cell():
    found = assign([objects((16, 8, 24, 16), (0, 0, 60, 60), (0, 0, 64, 256))], SIZES, STRIDES)
    small = STARTS[0] + (1 * 8 + 2) * 3  # center 20, 12
    middle = STARTS[1] + (1 * 4 + 1) * 3  # center 30, 30
    large = STARTS[2] + (1 * 2 + 1) * 3  # center 32, 128: below the image, so its last row
    assert found.place.tolist() == [small, middle, large]
    assert found.image.tolist() == [0, 0, 0]
    assert found.number.tolist() == [0, 1, 2]


def test_objects_of_a_cell_take_its_slots_by_size_and_the_fourth_has_none():
    same = [(33, 33, 35, 35), (33, 33, 39, 39), (34, 34, 38, 38), (34, 34, 38, 38)]
    found = assign([objects(), objects(*same)], SIZES, STRIDES)
    cell = (4 * 8 + 4) * 3
    places = dict(zip(found.number.tolist(), found.place.tolist(), strict=True))
    assert places == {1: cell, 2: cell + 1, 3: cell + 2}
    assert found.image.tolist() == [1, 1, 1]
    assert found.num_crowded_out == 1


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.floats(0, 64)] * 4), max_size=30))
def test_no_place_is_given_twice_and_every_cell_holds_its_center(corners):
    boxes = [(min(a, c), min(b, d), max(a, c) + 0.5, max(b, d) + 0.5) for a, b, c, d in corners]
    found = assign([objects(*boxes)], SIZES, STRIDES)
    assert len(set(found.place.tolist())) == len(found.place)
    assert found.num_crowded_out == len(boxes) - len(found.place)
    middles = torch.cat(
        [centers(*size, torch.zeros(1)).repeat_interleave(3, 0) * s for size, s in zip(SIZES, STRIDES, strict=True)]
    )
    strides = torch.cat([torch.full((h * w * 3,), s) for (h, w), s in zip(SIZES, STRIDES, strict=True)])
    for number, place in zip(found.number.tolist(), found.place.tolist(), strict=True):
        left, top, right, bottom = boxes[number]
        middle = torch.tensor([(left + right) / 2, (top + bottom) / 2]).clamp_max(63.999)
        assert (middles[place] - middle).abs().max() <= strides[place] / 2 + 1e-3


def test_no_objects_have_no_places():
    found = assign([objects(), objects()], SIZES, STRIDES)
    assert (len(found.place), found.num_crowded_out) == (0, 0)
