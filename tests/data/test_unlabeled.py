"""Folders of images without labels: every kind of picture, and every way they can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convslim.data import open_data
from convslim.data.unlabeled import Preprocessing, Unlabeled, image_files, read_unlabeled
from convslim.errors import DataError

COLOR = Preprocessing((3, 8, 8), 8, "bilinear", (0.0,) * 3, (1.0,) * 3)
GRAY = Preprocessing((1, 8, 8), 8, "bilinear", (0.0,), (1.0,))


def fill(folder: Path, count: int = 12) -> list[Path]:
    """Pictures of one brightness each, the number of the file, at several depths and with several endings."""
    for number in range(count):
        place = folder / ("" if number % 3 else "deep/er")
        place.mkdir(parents=True, exist_ok=True)
        ending = ("png", "bmp", "webp", "JPG")[number % 4]
        Image.new("RGB", (20, 16), (10 * number,) * 3).save(place / f"{number:02}.{ending}", quality=100)
    return image_files(folder)


def read(files: list[Path], preprocessing: Preprocessing = COLOR, **options) -> Unlabeled:
    return read_unlabeled(files, preprocessing, **{"num_images": 100} | options)


def pixels(found: Unlabeled) -> torch.Tensor:
    return torch.cat([images for images, _ in found.split.batches(5)])


def test_every_depth_and_ending_in_a_fixed_order(tmp_path):
    files = fill(tmp_path)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "folder.png").mkdir()
    for hidden in (tmp_path / "._01.png", tmp_path / ".thumbnails" / "a.png"):
        hidden.parent.mkdir(exist_ok=True)
        hidden.write_bytes(b"no picture either")
    assert image_files(tmp_path) == files
    assert len(files) == 12
    assert files == sorted(files)
    found = read(files)
    assert (found.found, found.examined, len(found.split), found.skipped) == (12, 12, 12, ())
    brightness = pixels(found).mean((1, 2, 3)).mul(25.5).sort().values
    assert torch.allclose(brightness, torch.arange(12.0), atol=0.15)
    assert next(iter(found.split.batches(3)))[1].tolist() == [-1, -1, -1]
    assert found.split.labels is None


def test_no_folder_and_no_pictures(tmp_path):
    with pytest.raises(DataError, match="There is no folder"):
        image_files(tmp_path / "none")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match="has no images, neither directly nor below"):
        image_files(tmp_path)


def test_sample_depends_on_the_seed_and_on_nothing_else(tmp_path):
    files = fill(tmp_path)
    one, same, other = (pixels(read(files, num_images=6, **kind)) for kind in ({}, {"workers": 4}, {"seed": 1}))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert len(one) == 6


def cut_off(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-900])


@pytest.mark.parametrize(
    "damage", [cut_off, lambda path: path.write_bytes(b""), lambda path: path.write_text("<html>not found</html>")]
)
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_a_corrupt_image_is_skipped_and_named_or_refused(damage, ending, tmp_path):
    files = fill(tmp_path)
    broken = tmp_path / f"broken.{ending}"
    damage(broken)
    files = image_files(tmp_path)
    found = read(files)
    assert (found.examined, len(found.split)) == (13, 12)
    assert [file for file, _ in found.skipped] == [broken]
    assert f"{broken} cannot be decoded" in found.skipped[0][1]
    with pytest.raises(DataError, match=f"broken.{ending} cannot be decoded"):
        read(files, bad="refuse")


def test_skipped_images_are_replaced(tmp_path):
    fill(tmp_path)
    for number in range(12):
        (tmp_path / f"broken{number}.png").write_bytes(b"no")
    found = read(image_files(tmp_path), num_images=8)
    assert len(found.split) == 8
    assert 8 < found.examined == 8 + len(found.skipped) < 24


def test_nothing_usable_is_an_error(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no")
    with pytest.raises(DataError, match=r"None of 1 images can be used\. The first: .*broken.png cannot be decoded"):
        read(image_files(tmp_path))


def gray_picture(mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.full((16, 16), 255 << 8, np.uint16))
    return Image.new(mode, (16, 16), 255 if mode != "LA" else (255, 9))


@pytest.mark.parametrize("mode", ["L", "LA", "1", "I;16"])
def test_gray_images_are_converted_skipped_or_refused(mode, tmp_path):
    fill(tmp_path)
    gray = tmp_path / "gray.png"
    gray_picture(mode).save(gray)
    files = image_files(tmp_path)
    found = read(files)
    assert found.gray == (gray,)
    assert len(found.split) == 13
    assert pixels(found).amax() == 1
    found = read(files, gray="skip")
    assert (found.gray, [file for file, _ in found.skipped]) == ((), [gray])
    assert pixels(found).amax() < 1
    with pytest.raises(DataError, match=r"gray.png is gray-scale, and the network takes colors"):
        read(files, gray="refuse")


def test_gray_networks_take_gray_images_without_a_word(tmp_path):
    fill(tmp_path)
    gray_picture("L").save(tmp_path / "gray.png")
    found = read(image_files(tmp_path), GRAY, gray="refuse")
    assert (len(found.split), found.gray, found.split.input_shape) == (13, (), (1, 8, 8))


def test_unusual_images_are_counted_and_made_usual(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "print.jpg")
    Image.new("RGBA", (16, 16), (255, 0, 0, 7)).save(tmp_path / "alpha.png")
    palette = Image.new("P", (16, 16))
    palette.putpalette([255, 0, 0] * 256)
    palette.save(tmp_path / "palette.png", transparency=b"\x00\x01")
    turned = Image.Exif()
    turned[0x0112] = 6  # the upper side is at the right
    half = Image.new("RGB", (16, 16), (255, 0, 0))
    half.paste((255, 0, 255), (0, 0, 8, 16))
    half.save(tmp_path / "turned.png", exif=turned)
    files = image_files(tmp_path)
    found = read(files)
    assert dict(found.unusual) == {"CMYK": 1, "rotated": 1, "transparent": 2}
    images = pixels(found)
    assert torch.allclose(images[:, :2].mean((2, 3)), torch.tensor([1.0, 0.0]), atol=0.02)
    blue = images[:, 2][images[:, 2].mean((1, 2)) > 0.3]
    assert blue.shape == (1, 8, 8)
    assert blue[0, :3].min() > 0.9  # was the left half, and is the upper one
    assert blue[0, 5:].max() < 0.1


def test_pictures_are_cut_as_those_of_image_folders(tmp_path):
    noise = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            image = Image.fromarray(noise.integers(0, 255, (30, 40, 3), dtype=np.uint8))
            image.save(tmp_path / name / f"{number}.png")
    options = {"size": 12, "resize": 14, "interpolation": "bicubic", "workers": 0, "test_share": 0.5}
    source = open_data(f"imagefolder:{tmp_path}", **options)
    files = [source.test.reader.files[row] for row in source.test.rows]
    preprocessing = Preprocessing((3, 12, 12), 14, "bicubic", source.mean, source.std)
    found = {image.numpy().tobytes() for image in pixels(read(files, preprocessing))}
    wanted = {image.numpy().tobytes() for images, _ in source.test.batches(9) for image in images}
    assert found == wanted
    assert len(found) == 3


def test_progress_hears_of_every_image(tmp_path):
    seen: list[Path] = []
    files = fill(tmp_path)
    read(files, on_image=seen.append)
    assert sorted(seen) == files


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bad": "ignore"}, "bad is 'ignore'; it must be one of skip, refuse"),
        ({"gray": "yes"}, "gray is 'yes'; it must be one of convert, skip, refuse"),
        ({"num_images": 0}, "num_images is 0"),
    ],
)
def test_wrong_options(options, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read(fill(tmp_path), **options)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (((4, 8, 8), 8, "bilinear", (0.0,) * 4, (1.0,) * 4), "takes 4 channels"),
        (((3, 8, 8), 7, "bilinear", (0.0,) * 3, (1.0,) * 3), "scaled to 7×7 pixels have no part of 8×8"),
        (((3, 8, 8), 8, "bilinear", (0.0,), (1.0,) * 3), r"mean is \[0.0\]; it must be 3 numbers"),
        (((3, 8, 8), 8, "bilinear", (0.0,) * 3, (1.0, 0.0, 1.0)), "std above 0"),
    ],
)
def test_wrong_preprocessing(fields, message):
    with pytest.raises(DataError, match=message):
        Preprocessing(*fields)
