"""Whole-batch augmentation against the same thing done image by image."""

import pytest
import torch
import torch.nn.functional as F

from convslim.data.augment import Augmentation, center_crop, cutout, draw, random_crop, random_flip
from convslim.data.order import generator
from convslim.errors import DataError


@pytest.fixture
def images():
    return torch.randint(1, 256, (40, 3, 8, 8), dtype=torch.uint8)


@pytest.fixture
def draws():
    return draw(40, generator(0))


def test_random_crop_takes_one_window_of_the_padded_image(images, draws):
    cropped = random_crop(images, (8, 8), 2, draws)
    for image, result, top, left in zip(images, cropped, draws.top, draws.left, strict=True):
        y, x = int(top * 5), int(left * 5)
        assert torch.equal(F.pad(image, (2, 2, 2, 2))[:, y : y + 8, x : x + 8], result)
    assert len({int(top * 5) for top in draws.top}) == 5, "all places are reached"


def test_random_crop_without_room_changes_nothing(images, draws):
    assert torch.equal(random_crop(images, (8, 8), 0, draws), images)


def test_center_crop_takes_the_middle(images):
    assert torch.equal(center_crop(images, (4, 6)), images[:, :, 2:6, 1:7])


def test_flip_mirrors_about_half_of_the_images(images, draws):
    flipped = random_flip(images, draws)
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    same = (flipped == images).flatten(1).all(1)
    assert bool((mirrored ^ same).all())
    assert 10 <= int(mirrored.sum()) <= 30


@pytest.mark.parametrize("side", [1, 4, 16])
def test_cutout_zeros_one_square(side, draws):
    cut = cutout(torch.ones(40, 3, 8, 8), side, draws) == 0
    for mask, cut_y, cut_x in zip(cut, draws.cut_y, draws.cut_x, strict=True):
        expected = torch.zeros(8, 8, dtype=torch.bool)
        top, left = int(cut_y * 8) - side // 2, int(cut_x * 8) - side // 2
        expected[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = True
        assert torch.equal(mask, expected.expand(3, 8, 8))


@pytest.mark.parametrize("wrong", [{"padding": -1}, {"cutout": -2}])
def test_negative_pixels_are_refused(wrong):
    with pytest.raises(DataError, match="counted from 0 up"):
        Augmentation(**wrong)
