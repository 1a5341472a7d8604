"""The layout of the VOC challenge: what is read, repaired, counted, and refused."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convslim.data.annotated import Repairs
from convslim.data.voc import read_voc
from convslim.data.voc_xml import read_annotation
from convslim.errors import DataError

SIZE = "<size><width>40</width><height>30</height><depth>3</depth></size>"


def thing(box, name="dog", difficult=0):
    corners = "".join(
        f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{corners}</bndbox></object>"


def folder(root: Path, files: dict[str, str], split="train") -> Path:
    """A folder in the layout; the images are never opened here."""
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, objects in files.items():
        (root / "JPEGImages" / f"{name}.jpg").write_bytes(b"")
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{SIZE}{objects}</annotation>")
    (root / "ImageSets/Main" / f"{split}.txt").write_text("".join(f"{name}  1\n" for name in files))
    return root


def test_boxes_move_to_a_corner_of_zero(tmp_path):
    found = read_voc(folder(tmp_path, {"a": thing((1, 1, 40, 30)) + thing((5, 6, 7, 9), "cat", 1)}), "train")
    (image,) = found.images
    assert image.objects.boxes.tolist() == [[0, 0, 40, 30], [4, 5, 7, 9]]
    assert found.classes == ("cat", "dog")
    assert image.objects.labels.tolist() == [1, 0]
    assert image.objects.difficult.tolist() == [False, True]
    assert (image.size, image.path.name) == ((40, 30), "a.jpg")
    assert found.repairs == Repairs()
    assert str(found.repairs) == "nothing odd"


def test_odd_boxes_are_repaired_and_counted(tmp_path):
    odd = {
        "a": thing((9, 9, 9, 9)) + thing((20, 5, 10, 9)) + thing((50, 1, 60, 9)) + thing((-3, 1, 10, 99)),
        "b": thing((7, 7, 7, 7)),
        "c": "",
    }
    found = read_voc(folder(tmp_path, odd), "train")
    assert found.repairs == Repairs(empty=3, outside=1, clipped=1, without_objects=2)
    assert found.images[0].objects.boxes.tolist() == [[0, 0, 10, 30]]
    assert [len(image.objects) for image in found.images] == [1, 0, 0]
    assert str(found.repairs) == (
        "3 boxes without area left out, 1 boxes outside their image left out, 1 boxes cut at the border, "
        "2 images without objects"
    )


def test_several_folders_together(tmp_path):
    roots = [folder(tmp_path / year, {f"{year}_1": thing((1, 1, 9, 9))}) for year in ("2007", "2012")]
    assert [image.path.stem for image in read_voc(roots, "train").images] == ["2007_1", "2012_1"]


def test_given_classes_are_the_order_of_labels(tmp_path):
    root = folder(tmp_path, {"a": thing((1, 1, 9, 9))})
    assert read_voc(root, "train", ["person", "dog"]).images[0].objects.labels.tolist() == [1]
    with pytest.raises(
        DataError, match=r"a\.xml: an object is a 'dog', which is none of the classes cat, dig\. Did you"
    ):
        read_voc(root, "train", ["cat", "dig"])


BROKEN = {
    "no XML": ("<annotation><size>", r"a\.xml is no valid XML"),
    "entities": ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "declares a document type"),
    "no size": ("<annotation></annotation>", r"<annotation> has no <size>"),
    "no width": ("<annotation><size><height>3</height></size></annotation>", "<size> has no text in <width>"),
    "half a pixel": (f"<annotation>{SIZE.replace('40', '4.5')}</annotation>", "<width> is 4.5; a whole number"),
    "no box": (f"<annotation>{SIZE}<object><name>a</name></object></annotation>", "<object> has no <bndbox>"),
    "no number": (f"<annotation>{SIZE}{thing(('x', 1, 2, 3))}</annotation>", "<xmin> in <bndbox> is 'x'"),
    "infinite": (f"<annotation>{SIZE}{thing(('inf', 1, 2, 3))}</annotation>", "<xmin> in <bndbox> is 'inf'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_annotations_are_named(tmp_path, case):
    root = folder(tmp_path, {"a": ""})
    text, message = BROKEN[case]
    (root / "Annotations/a.xml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_voc(root, "train")


def test_missing_files_are_named(tmp_path):
    root = folder(tmp_path, {"a": thing((1, 1, 9, 9))})
    with pytest.raises(DataError, match=r"no readable list ImageSets/Main/val\.txt.*Lists there: train"):
        read_voc(root, "val")
    (root / "Annotations/a.xml").unlink()
    with pytest.raises(DataError, match=r"Cannot read the annotation .*a\.xml"):
        read_voc(root, "train")
    (root / "JPEGImages/a.jpg").unlink()
    with pytest.raises(DataError, match=r"has no image a "):
        read_voc(root, "train")
    with pytest.raises(DataError, match="is this the folder that holds JPEGImages"):
        read_voc(tmp_path / "nowhere", "train")


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "b/a"])
def test_lists_cannot_leave_the_folder(tmp_path, name):
    root = folder(tmp_path, {"a": ""})
    (root / "ImageSets/Main/train.txt").write_text(f"{name}\n")
    with pytest.raises(DataError, match="a plain file name without folders"):
        read_voc(root, "train")


def test_an_empty_list_is_refused(tmp_path):
    root = folder(tmp_path, {})
    with pytest.raises(DataError, match="names no image"):
        read_voc(root, "train")


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=300), st.text(alphabet="<>/&;!annotiszeobjc[]\"' 0", max_size=200).map(str.encode)))
def test_any_bytes_give_an_annotation_or_an_error_of_ours(tmp_path, content):
    path = tmp_path / "a.xml"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        read_annotation(path)


def test_real_blood_cells(real_data):
    root = real_data / "bccd"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    splits = {split: read_voc(root, split) for split in ("train", "val", "test")}
    assert [len(found) for found in splits.values()] == [205, 87, 72]
    assert all(found.classes == ("Platelets", "RBC", "WBC") for found in splits.values())
    assert sum(len(image.objects) for found in splits.values() for image in found.images) == 4_888 - 2
    assert sum(found.repairs.empty for found in splits.values()) == 2
