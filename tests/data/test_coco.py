"""COCO's JSON: the same images and boxes as in the VOC layout; what is broken is named."""

import json
from pathlib import Path

import pytest
import torch
from tests.data.voc_sample import CLASSES, write_sample

from convslim.data import open_data
from convslim.data.coco import read_coco
from convslim.data.voc import read_voc
from convslim.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_sample(tmp_path / "sample", images=8, side=64)


def content(root, split):
    """A split of the sample as COCO describes it; categories have ids with gaps."""
    annotated = read_voc(root, split, CLASSES)
    images, annotations = [], []
    for number, image in enumerate(annotated.images, start=7):
        size = {"width": image.size[0], "height": image.size[1]}
        images.append({"id": number, "file_name": image.path.name, **size})
        for (left, top, right, bottom), label in zip(image.objects.boxes.tolist(), image.objects.labels, strict=True):
            box = [left, top, right - left, bottom - top]
            annotations.append({"image_id": number, "category_id": 3 + 4 * int(label), "bbox": box, "iscrowd": 0})
    categories = [{"id": 3 + 4 * label, "name": name} for label, name in enumerate(CLASSES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write(root: Path, data: object, name: str = "train.json") -> Path:
    path = root / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_it_equals_the_voc_layout(root):
    expected = read_voc(root, "train", CLASSES)
    found = read_coco(write(root, content(root, "train")), root / "JPEGImages")
    assert found.classes == CLASSES
    for one, other in zip(found.images, expected.images, strict=True):
        assert (one.path, one.size) == (other.path, other.size)
        assert torch.equal(one.objects.boxes, other.objects.boxes)
        assert torch.equal(one.objects.labels, other.objects.labels)


def test_as_a_data_source_with_its_own_averages(root):
    for split in ("train", "test"):
        write(root, content(root, split), f"{split}.json")
    options = {"train_images": "JPEGImages", "test_images": "JPEGImages", "side": 64, "workers": 0}
    source = open_data(f"coco:{root}", train="train.json", test="test.json", **options)
    assert (len(source.train), len(source.test), source.test.coco) == (6, 2, True)
    images, objects = next(iter(source.test.batches(2)))
    assert images.shape == (2, 3, 64, 64)
    assert sum(map(len, objects)) > 0


def test_odd_boxes_and_crowds(root):
    data = content(root, "train")
    first = data["annotations"][0]
    data["annotations"] = [{**first, "iscrowd": 1}, {**first, "bbox": [5, 5, 0, 9]}, {**first, "bbox": [50, 1, 99, 9]}]
    found = read_coco(write(root, data), root / "JPEGImages")
    assert (found.repairs.empty, found.repairs.clipped, found.repairs.without_objects) == (1, 1, 5)
    assert found.images[0].objects.difficult.tolist() == [True, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: "{", "is no valid JSON"),
        (lambda data: "[]", "holds a list"),
        (lambda data: data.pop("categories") and data, "has no list 'categories'"),
        (lambda data: {**data, "images": []}, "objects belong to image 7"),
        (lambda data: data["annotations"][0].pop("bbox") and data, "has no 'bbox'"),
        (lambda data: data["annotations"][0].update(bbox=[1, 2, "3", 4]) or data, "'bbox' is"),
        (lambda data: data["annotations"][0].update(category_id=9) or data, "category 9, which is not listed"),
        (lambda data: data["images"][0].update(file_name="../x.png") or data, "is no image below"),
        (lambda data: data["images"][0].update(file_name="x.png") or data, "has no image x.png"),
        (lambda data: data["images"][0].update(width="64") or data, "'width' is '64'"),
    ],
)
def test_what_is_broken_is_named(root, change, message):
    file = write(root, change(content(root, "train")))
    with pytest.raises(DataError, match=message):
        read_coco(file, root / "JPEGImages")


def test_a_missing_file_and_unknown_classes(root):
    with pytest.raises(DataError, match="Cannot read the annotations"):
        read_coco(root / "no.json", root)
    file = write(root, content(root, "train"))
    with pytest.raises(DataError, match="which is none of the classes disk"):
        read_coco(file, root / "JPEGImages", ["disk"])
