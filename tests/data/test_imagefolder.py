"""Image folders: layouts, all kinds of images, processes, and every way they can be wrong."""

import numpy as np
import pytest
import torch
from PIL import Image

from convslim.data import TensorReader, open_data
from convslim.errors import DataError

COLORS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def fill(folder, count=5, size=(40, 30)):
    """`count` images of one color in every class folder."""
    for name, color in COLORS.items():
        (folder / name / "inner").mkdir(parents=True)
        for number in range(count):
            place = folder / name / ("inner" if number == 0 else "")
            Image.new("RGB", size, color).save(place / f"{number}.{'PNG' if number % 2 else 'jpg'}")
        (folder / name / "notes.txt").write_text("not an image")
    return folder


def open_small(folder, **options):
    settings = {"size": 16, "mean": [0, 0, 0], "std": [1, 1, 1], "workers": 0}
    return open_data(f"imagefolder:{folder}", **settings | options)


def collect(batches):
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


@pytest.mark.parametrize("test_folder", ["val", "test", "valid", "validation"])
def test_train_and_test_folders(test_folder, tmp_path):
    fill(tmp_path / "train")
    fill(tmp_path / test_folder, count=2)
    source = open_small(tmp_path)
    assert (len(source.train), len(source.test), source.classes) == (15, 6, ("blue", "green", "red"))
    assert source.input_shape == (3, 16, 16)
    images, labels = collect(source.test.batches(4))
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.allclose(images.mean((2, 3)), torch.eye(3).flip(0)[labels], atol=0.01)


def test_flat_folders_are_split_stratified(tmp_path):
    source = open_small(fill(tmp_path), test_share=0.4, holdout=1 / 3)
    assert torch.bincount(source.test.labels).tolist() == [2, 2, 2]
    assert torch.bincount(source.train.labels).tolist() == [2, 2, 2]
    assert torch.bincount(source.holdout.labels).tolist() == [1, 1, 1]


def test_worker_processes_and_memory_give_the_same_images(tmp_path):
    fill(tmp_path)
    options = {"seed": 1, "epoch": 2, "augment": True}
    plain, processes, memory = (
        collect(open_small(tmp_path, **kind).train.batches(5, **options))
        for kind in ({}, {"workers": 2}, {"in_memory": True})
    )
    for other in (processes, memory):
        assert torch.equal(plain[0], other[0])
        assert torch.equal(plain[1], other[1])
    assert isinstance(open_small(tmp_path, in_memory=True).train.reader, TensorReader)


def test_resizing_keeps_the_middle(tmp_path):
    """A wide image: black, a white square in the middle, black."""
    fill(tmp_path)
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = 255
    Image.fromarray(pixels).save(tmp_path / "blue" / "1.PNG")
    source = open_small(tmp_path, resize=20, size=20)
    row = next(row for row, file in enumerate(source.train.reader.files) if file.name == "1.PNG")
    images, _ = next(source.train.reader.read([torch.tensor([row])], 0))
    assert images.float().mean() == 255


def gray(path):
    Image.new("L", (20, 20), 100).save(path)


def gray16(path):
    Image.fromarray(np.full((20, 20), 100 << 8, np.uint16)).save(path)


def alpha(path):
    Image.new("RGBA", (20, 20), (100, 100, 100, 7)).save(path)


def palette(path):
    image = Image.new("P", (20, 20))
    image.putpalette([100, 100, 100] * 256)
    image.save(path, transparency=b"\x00\x01")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("write", [gray, gray16, alpha, palette])
def test_any_kind_of_image_is_converted(write, channels, tmp_path):
    fill(tmp_path)
    for folder in ("blue", "green", "red"):
        for file in list((tmp_path / folder).rglob("*.*")):
            file.unlink()
        write(tmp_path / folder / "a.png")
        write(tmp_path / folder / "b.png")
    source = open_small(tmp_path, channels=channels, mean=[0] * channels, std=[1] * channels, test_share=0.5)
    images, _ = collect(source.train.batches(8))
    assert images.shape == (3, channels, 16, 16)
    assert torch.allclose(images, torch.tensor(100 / 255))


def test_exif_orientation_is_followed(tmp_path):
    fill(tmp_path)
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    for file in (tmp_path / "red").glob("*.PNG"):
        Image.fromarray(pixels).save(file, exif=exif)
    reader = open_small(tmp_path, resize=16).train.reader
    row = next(row for row, file in enumerate(reader.files) if file.parent.name == "red" and file.suffix == ".PNG")
    images, _ = next(reader.read([torch.tensor([row])], 0))
    assert (images[0, :, :8].max(), images[0, :, 8:].min()) == (0, 255)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0 no jpeg", "cut off"])
def test_corrupt_image_is_named(content, workers, tmp_path):
    fill(tmp_path)
    bad = tmp_path / "green" / "2.jpg"
    bad.write_bytes(bad.read_bytes()[:300] if isinstance(content, str) else content)
    source = open_small(tmp_path, workers=workers)
    with pytest.raises(DataError, match=r"^image .*green/2\.jpg cannot be decoded") as caught:
        collect([*source.train.batches(4), *source.test.batches(4)])
    assert "Traceback" not in str(caught.value)


def no_folder(root):
    return root / "missing"


def empty_folder(root):
    (root / "empty").mkdir()
    return root / "empty"


def empty_class(root):
    fill(root)
    (root / "yellow").mkdir()
    return root


def no_test_folder(root):
    fill(root / "train")
    return root


def unknown_class(root):
    fill(root / "train")
    fill(root / "val")
    (root / "val" / "red").rename(root / "val" / "reds")
    return root


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_folder, "there is no folder"),
        (empty_folder, "is empty; it must hold one subfolder"),
        (empty_class, "yellow has no images"),
        (no_test_folder, "has train/ but none of val, test"),
        (unknown_class, r"class 'reds', which .* does not have\. Did you mean 'red'\?"),
    ],
)
def test_wrong_folders_are_explained(make, message, tmp_path):
    with pytest.raises(DataError, match=message):
        open_small(make(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 2}, "1 .gray. or 3"),
        ({"size": 32, "resize": 16}, "0 < size ≤ resize"),
        ({"size": 0}, "0 < size ≤ resize"),
        ({"interpolation": "nearest"}, "one of bilinear, bicubic"),
        ({"test_share": 0.0}, "must leave some on both sides"),
    ],
)
def test_wrong_options_are_explained(options, message, tmp_path):
    with pytest.raises(DataError, match=message):
        open_small(fill(tmp_path), **options)
