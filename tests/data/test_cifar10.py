"""CIFAR-10 in its three layouts, made small; and the real one where it lies."""

import pickle
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from convslim.data import cifar10, open_data
from convslim.errors import DataError

STEMS = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
PER_FILE = 4


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(cifar10, "IMAGES_PER_FILE", PER_FILE)


@pytest.fixture
def content():
    """Images (6, 4, 3, 32, 32) and labels (6, 4) of the six files."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, PER_FILE, 3, 32, 32), dtype=np.uint8)
    return images, rng.integers(0, 10, (6, PER_FILE))


def write_binary(folder, images, labels):
    for stem, planes, classes in zip(STEMS, images, labels, strict=True):
        records = np.concatenate([classes[:, None].astype(np.uint8), planes.reshape(PER_FILE, -1)], axis=1)
        records.tofile(folder / f"{stem}.bin")


def python2_batch(images, labels):
    """The official files byte for byte in kind: protocol 2 of Python 2, whose strings are bytes."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    def blob(value):
        return b"T" + struct.pack("<i", len(value)) + value

    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R" + b"(K\x03" + text(b"|") + b"NNNJ" + b"\xff" * 4
    dtype += b"J" + b"\xff" * 4 + b"K\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    array += b"(K\x01K" + bytes([len(images)]) + b"M" + struct.pack("<H", 3072) + b"\x86" + dtype + b"\x89"
    array += blob(images.tobytes()) + b"tb"
    items = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"labels") + items + text(b"data") + array + b"u."


def write_python2(folder, images, labels):
    for stem, planes, classes in zip(STEMS, images, labels, strict=True):
        (folder / stem).write_bytes(python2_batch(planes, classes.tolist()))


def write_python3(folder, images, labels):
    for stem, planes, classes in zip(STEMS, images, labels, strict=True):
        batch = {b"data": planes.reshape(PER_FILE, -1), b"labels": classes.tolist()}
        (folder / stem).write_bytes(pickle.dumps(batch, protocol=2))


def write_mosaic(folder, images, labels):
    for stem, planes in zip(STEMS, images, strict=True):
        grid = planes.reshape(2, 2, 3, 32, 32).transpose(0, 3, 1, 4, 2).reshape(64, 64, 3)
        Image.fromarray(grid).save(folder / f"{stem}.webp", lossless=True)
    np.savez(folder / "labels.npz", **dict(zip(STEMS, labels.astype(np.uint8), strict=True)))


WRITERS = {
    "cifar-10-batches-bin": write_binary,
    "cifar-10-batches-py": write_python2,
    "": write_python3,
    "cifar10": write_mosaic,
}


@pytest.mark.parametrize("name", WRITERS)
def test_all_layouts_give_the_same_images(name, content, tmp_path, monkeypatch):
    (tmp_path / name).mkdir(exist_ok=True)
    WRITERS[name](tmp_path / name, *content)
    monkeypatch.setenv("CONVSLIM_DATA", str(tmp_path))
    for source in (open_data("cifar10"), open_data(f"cifar10:{tmp_path}"), open_data(f"cifar10:{tmp_path / name}")):
        images, labels = torch.from_numpy(content[0]), torch.from_numpy(content[1])
        assert torch.equal(source.train.reader.images, images[:5].flatten(0, 1))
        assert torch.equal(source.test.reader.images, images[5])
        assert torch.equal(source.train.labels, labels[:5].flatten())
        assert torch.equal(source.test.labels, labels[5])
    assert (source.num_classes, source.classes[3], source.train.augmentation.padding) == (10, "cat", 4)


def test_python2_batch_is_what_pickle_reads(content):
    batch = pickle.loads(python2_batch(content[0][0], content[1][0].tolist()), encoding="bytes")
    assert np.array_equal(batch[b"data"], content[0][0].reshape(PER_FILE, -1))
    assert batch[b"labels"] == content[1][0].tolist()


class Attack:
    def __reduce__(self):
        return print, ("executed",)


BAD_PICKLES = {
    "code": (pickle.dumps(Attack()), "names builtins.print"),
    "eval": (b"cbuiltins\neval\n(S'1'\ntR.", "names builtins.eval"),
    "codec": (b"c_codecs\nencode\n(Vx\nS'rot13'\ntR.", "latin1 text only"),
    "truncated": (pickle.dumps({b"labels": [1] * 99})[:20], "UnpicklingError"),
    "empty": (b"", "EOFError"),
    "list": (pickle.dumps([1]), "holds a list"),
    "labels": (pickle.dumps({b"labels": [0.5]}), "no list of whole numbers"),
    "no array": (pickle.dumps({b"labels": [1], b"data": b"x"}), "no uint8 array"),
    "floats": (pickle.dumps({b"labels": [1], b"data": np.zeros((1, 3072))}), "no uint8 array"),
    "short": (pickle.dumps({b"labels": [1], b"data": np.zeros((1, 9), np.uint8)}), "no uint8 array"),
    "count": (pickle.dumps({b"labels": [1, 2], b"data": np.zeros((1, 3072), np.uint8)}), "2 × 3072"),
}


@pytest.mark.parametrize("kind", BAD_PICKLES)
def test_pickles_are_read_as_data_and_never_executed(kind, content, tmp_path, capsys):
    write_python2(tmp_path, *content)
    pickled, message = BAD_PICKLES[kind]
    (tmp_path / "data_batch_3").write_bytes(pickled)
    with pytest.raises(DataError, match=message) as caught:
        open_data(f"cifar10:{tmp_path}")
    assert "data_batch_3" in str(caught.value)
    assert capsys.readouterr().out == ""


def damage_missing(folder):
    (folder / "data_batch_2.bin").unlink()


def damage_bytes(folder):
    (folder / "test_batch.bin").write_bytes((folder / "test_batch.bin").read_bytes()[:-5])


def damage_records(folder):
    (folder / "test_batch.bin").write_bytes((folder / "test_batch.bin").read_bytes()[:-3073])


def damage_label(folder):
    whole = bytearray((folder / "data_batch_4.bin").read_bytes())
    whole[2 * 3073] = 17
    (folder / "data_batch_4.bin").write_bytes(whole)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_missing, "data_batch_2.bin missing"),
        (damage_bytes, "test_batch.bin has 12,287 bytes"),
        (damage_records, "test_batch.bin has 3 images"),
        (damage_label, "data_batch_4.bin: image 2 has label 17"),
    ],
)
def test_damaged_binary_files_are_named(damage, message, content, tmp_path):
    write_binary(tmp_path, *content)
    damage(tmp_path)
    with pytest.raises(DataError, match=message):
        open_data(f"cifar10:{tmp_path}")


def test_damaged_mosaics_are_named(content, tmp_path):
    write_mosaic(tmp_path, *content)
    Image.new("RGB", (32, 32)).save(tmp_path / "data_batch_1.webp", lossless=True)
    with pytest.raises(DataError, match=r"data_batch_1.webp is 32×32 pixels"):
        open_data(f"cifar10:{tmp_path}")
    (tmp_path / "data_batch_1.webp").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"data_batch_1.webp or labels.npz beside it cannot be read"):
        open_data(f"cifar10:{tmp_path}")


def test_absent_files_are_searched_and_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVSLIM_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"nowhere .* environment variable CONVSLIM_DATA"):
        open_data("cifar10")


def test_real_mosaics_have_the_official_mean(real_cifar10):
    source = real_cifar10
    assert torch.bincount(source.train.labels).tolist() == [5000] * 10
    assert torch.bincount(source.test.labels).tolist() == [1000] * 10
    pixels = source.train.reader.images.transpose(0, 1).flatten(1)
    assert [round(float(plane.float().mean() / 255), 4) for plane in pixels] == list(source.mean)
