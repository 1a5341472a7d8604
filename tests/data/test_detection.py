"""Batches of detection sets: pure functions of seed and epoch, whole in evaluation, errors that name the image."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convslim.data.annotated import AnnotatedImage, AnnotatedImages, Repairs
from convslim.data.detection import DetectionSplit
from convslim.data.detection_views import DetectionAugmentation
from convslim.data.objects import Objects
from convslim.errors import DataError

RANDOM = {"seed": 0, "epoch": 0, "augment": True, "drop_last": True}


@pytest.fixture
def split(tmp_path: Path) -> DetectionSplit:
    """Seven images of several sizes, each with a bright square on dark noise."""
    random = np.random.default_rng(0)
    images = []
    for number in range(7):
        width, height = int(random.integers(40, 90)), int(random.integers(40, 90))
        pixels = random.integers(0, 60, (height, width, 3)).astype(np.uint8)
        left, top = int(random.integers(0, width - 20)), int(random.integers(0, height - 20))
        pixels[top : top + 20, left : left + 20] = 255
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels).save(path)
        box = torch.tensor([[left, top, left + 20, top + 20]])
        images.append(AnnotatedImage(path, (width, height), Objects.of(box, torch.tensor([number % 2]))))
    return DetectionSplit(AnnotatedImages(tuple(images), ("a", "b"), Repairs()), side=64, workers=0)


def collected(batches):
    pairs = list(batches)
    return torch.cat([images for images, _ in pairs]), [each for _, objects in pairs for each in objects]


def test_whole_images_come_once_in_order(split):
    images, objects = collected(split.batches(3))
    assert images.shape == (7, 3, 64, 64)
    assert [each.labels.tolist() for each in objects] == [[n % 2] for n in range(7)]
    for image, each in zip(images, objects, strict=True):
        left, top, right, bottom = each.boxes[0].round().long().tolist()
        inside = image[:, top + 2 : bottom - 2, left + 2 : right - 2]
        assert float(inside.min()) > 2.0  # bright in normalized units
        assert float(image.mean()) < 1.0


def test_views_are_a_function_of_seed_and_epoch(split):
    first, same, other = (
        collected(split.batches(2, seed=3, epoch=epoch, augment=True, drop_last=True)) for epoch in (1, 1, 2)
    )
    assert torch.equal(first[0], same[0])
    assert not torch.equal(first[0], other[0])
    assert all(torch.equal(a.boxes, b.boxes) for a, b in zip(first[1], same[1], strict=True))
    assert len(first[1]) == 6


def test_workers_and_processes_change_nothing(split):
    alone, objects = collected(split.batches(4, **RANDOM))
    beside, _ = collected(DetectionSplit(split.annotated, 64, workers=2).batches(4, **RANDOM))
    assert torch.equal(alone, beside)
    shares = [collected(split.batches(4, **RANDOM, rank=rank, world_size=2)) for rank in (0, 1)]
    assert torch.equal(alone[0::2], shares[0][0])
    assert torch.equal(alone[1::2], shares[1][0])
    assert len(objects) == sum(len(found) for _, found in shares)


def test_mixed_images_share_the_weight(split):
    augmentation = DetectionAugmentation(crop=0, perspective=0, color=0, mixup=1)
    _, objects = collected(replace(split, augmentation=augmentation).batches(7, **RANDOM))
    for each in objects:
        assert len(each) == 2
        assert float(each.weights.sum()) == pytest.approx(1.0)


def test_plain_views_show_their_objects(split):
    augmentation = DetectionAugmentation(color=0, mixup=0)
    for epoch in range(3):
        views = replace(split, augmentation=augmentation).batches(7, seed=1, epoch=epoch, augment=True)
        images, objects = collected(views)
        for image, each in zip(images, objects, strict=True):
            for box in each.boxes:
                left, top, right, bottom = box.tolist()
                x, y = int((left + right) / 2), int((top + bottom) / 2)
                assert float(image[:, y, x].min()) > 1.5


def test_multi_scale_has_one_side_a_batch(split):
    several = replace(split, sides=(32, 96))
    sides = {
        images.shape[-1] for epoch in range(6) for images, _ in several.batches(3, seed=0, epoch=epoch, augment=True)
    }
    assert sides == {32, 96}
    assert {images.shape[-1] for images, _ in several.batches(3, seed=0)} == {64}


def test_broken_images_are_named(split, tmp_path):
    (tmp_path / "3.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"3\.png cannot be decoded"):
        list(split.batches(2))
    with pytest.raises(DataError, match=r"3\.png cannot be decoded"):
        list(DetectionSplit(split.annotated, 64, workers=1).batches(7, **RANDOM))


def test_images_of_another_size_are_refused(split, tmp_path):
    Image.new("RGB", (10, 10)).save(tmp_path / "0.png")
    with pytest.raises(DataError, match=r"0\.png has 10 x 10 pixels, and its annotation says"):
        list(split.batches(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2, "rank": 2, "world_size": 2}, "rank is 2 of 2 processes"),
        ({"batch_size": 2, "augment": True}, "needs a seed"),
    ],
)
def test_arguments_out_of_range(split, options, message):
    with pytest.raises(DataError, match=message):
        split.batches(**options)


def test_sides_and_chances_out_of_range(split):
    with pytest.raises(DataError, match="side: 50 pixels"):
        DetectionSplit(split.annotated, 50)
    with pytest.raises(DataError, match="sides: 40 pixels; a multiple of 32"):
        DetectionSplit(split.annotated, 64, sides=(40,))
    with pytest.raises(DataError, match=r"augmentation: flip is 2"):
        DetectionAugmentation(flip=2)
