"""`voc:/path` as a data source: splits, options, notes on what was odd, errors."""

from pathlib import Path

import pytest
import torch
from tests.data.voc_sample import CLASSES, write_sample

from convslim.data import open_data
from convslim.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_sample(tmp_path / "sample", images=8, side=64)


def test_splits_have_the_protocol_of_all_data(root):
    source = open_data(f"voc:{root}", train="train", side=64, workers=0, holdout=2, mean=[0.5] * 3, std=[0.5] * 3)
    assert (source.name, source.classes, source.input_shape) == ("sample", CLASSES, (3, 64, 64))
    assert (len(source.train), len(source.holdout), len(source.test)) == (4, 2, 2)
    assert source.train.task == "detection"
    assert source.holdout.mean == source.test.std == (0.5,) * 3
    names = [image.path.name for split in (source.train, source.holdout) for image in split.annotated.images]
    assert sorted(names) == [f"{number:06d}.png" for number in range(6)]
    assert source.example_input().shape == (1, 3, 64, 64)
    images, objects = next(iter(source.train.batches(4, seed=0)))
    assert images.shape == (4, 3, 64, 64)
    assert float(images.abs().max()) <= 1.0
    assert len(objects) == 4


def test_several_folders_are_taken_together(root, tmp_path):
    write_sample(tmp_path / "other", images=4, side=64, seed=1)
    source = open_data(
        f"voc:{tmp_path}", train="train", side=64, train_folders=["sample", "other"], test_folders=["other"]
    )
    assert (len(source.train), len(source.test)) == (9, 1)


def test_what_was_odd_is_noted(root):
    file = root / "Annotations" / "000000.xml"
    file.write_text(file.read_text().replace("<xmax>", "<xmax>9"))
    source = open_data(f"voc:{root}", train="train", side=64)
    assert "boxes cut at the border" in source.notes[0]
    assert source.notes[1] == "test images: nothing odd"


def test_options_reach_augmentation_and_sides(root):
    source = open_data(f"voc:{root}", train="train", side=64, sides=[32, 64], augmentation={"mixup": 0.0})
    assert (source.train.sides, source.train.augmentation.mixup, source.train.augmentation.flip) == ((32, 64), 0.0, 0.5)
    assert source.test.sides == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "learn"}, "has no readable list"),
        ({"side": 50}, "side: 50 pixels"),
        ({"classes": ["disc"]}, "an object is a 'square'"),
        ({"sice": 64}, "Did you mean 'side'"),
        ({"augmentation": {"padding": 2}}, "augmentation has no 'padding'"),
        ({"train_folders": ["2007"]}, "has no readable list"),
    ],
)
def test_wrong_options_name_the_way_out(root, options, message):
    with pytest.raises(DataError, match=message):
        open_data(f"voc:{root}", **{"train": "train", **options})


def test_boxes_move_to_a_device(root):
    split = open_data(f"voc:{root}", train="train", side=64, workers=0).train
    _, objects = next(iter(split.batches(2)))
    assert torch.equal(objects[0].to("cpu").boxes, objects[0].boxes)
