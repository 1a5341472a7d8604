"""`convslim compress`, driven as a user drives it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

import convslim
from convslim.cli import app
from convslim.cli.calibration import batches
from convslim.cli.preprocessing import parse_wishes, preprocessing
from convslim.compress import HELD_OUT
from convslim.data import Split, TensorReader, open_data
from convslim.data.unlabeled import Preprocessing, unlabeled_split
from convslim.errors import DataError
from convslim.train import TrainConfig, evaluate, fit
from convslim.train.onnx_file import evaluate_file

NETS = """
from torch import nn


def net(num_classes=4):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )


def gray():
    return nn.Sequential(nn.Conv2d(1, 16, 3), nn.Conv2d(16, 4, 3))


def normalized():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.GroupNorm(1, 16), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 32, 3, padding=1), nn.Conv1d(32, 16, 1), nn.Linear(16, 4)

    def forward(self, x):
        return self.last(self.second(self.first(x).relu().view(-1, 32, 64)).relu().mean(2))


def maps():
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 3))
"""


def call(*arguments: object, code: int = 0) -> str:
    words = ["compress", *map(str, arguments)]
    result = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert result.exit_code == code, f"exit code {result.exit_code}: {result.output}"
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.output


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained network for the digits."""
    torch.manual_seed(0)
    trained = fit(
        convslim.models.create("digits_cnn"),
        open_data("digits"),
        TrainConfig(epochs=3, batch_size=64, lr=0.05),
        quiet=True,
    )
    path = tmp_path_factory.mktemp("weights") / "digits.safetensors"
    save_file(trained.model.state_dict(), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """60 pictures at two depths."""
    noise = np.random.default_rng(0)
    for number in range(60):
        place = tmp_path / "pictures" / f"{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = noise.integers(0, 255, (3, 4, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((14, 12), Image.Resampling.BILINEAR).save(place / f"{number}.png")
    return tmp_path / "pictures"


@pytest.fixture
def small(tmp_path: Path, folder: Path) -> list[object]:
    """A network of the user and pictures for it."""
    (tmp_path / "nets.py").write_text(NETS)
    return [f"{tmp_path / 'nets.py'}:net", "--size", 8, "--images", folder, "--budget", "macs=0.7"]


def record_of(*arguments: object) -> dict[str, Any]:
    return json.loads(call(*arguments, "--json"))


def test_pictures_of_digits_without_labels_give_a_network_that_knows_them(weights: Path, tmp_path: Path):
    source = open_data("digits")
    assert isinstance(source.train, Split)
    reader = source.train.reader
    assert isinstance(reader, TensorReader)
    (tmp_path / "pictures").mkdir()
    for row in source.train.rows[:300].tolist():
        Image.fromarray(reader.images[row, 0].numpy()).save(tmp_path / "pictures" / f"{row}.png")
    (tmp_path / "pictures" / "broken.jpg").write_bytes(b"no picture")
    arguments = ["digits_cnn", "--weights", weights, "--images", tmp_path / "pictures", "--budget", "macs=0.7"]
    text = call(*arguments, "--out", tmp_path / "small", "--onnx", tmp_path / "small.onnx", "--threads", 1)
    assert "300 of 301 in use: 240 to fit, 60 held out" in text
    assert "broken.jpg cannot be decoded" in text
    assert "those of the digits are used" in text
    assert "95 % interval" in text
    assert "peak memory" in text
    record = json.loads((tmp_path / "small" / "record.json").read_text())
    assert record["parity"]["agreement"] > 0.85 > record["parity_cut"]["agreement"]
    assert record["macs"][1] <= 0.7 * record["macs"][0]
    assert record["test"] is None
    made = convslim.load(tmp_path / "small", lambda: convslim.models.create("digits_cnn")).eval()
    assert evaluate(made, source.test).value > 0.85
    onnx.checker.check_model(tmp_path / "small.onnx")


def test_known_data_is_used_without_its_labels_and_accuracy_is_measured(weights: Path):
    arguments = ["digits_cnn", "--weights", weights, "--images", "digits", "--budget", "macs=0.7", "--num-images", 200]
    record = record_of(*arguments)
    original = convslim.models.create("digits_cnn")
    convslim.load_weights(original, weights)
    found = record["test"]
    before = evaluate(original.eval(), open_data("digits").test)
    assert found["correct_before"] == before.record_fields()["correct"]
    assert found["total"] == 360
    assert found["correct"] > 0.85 * 360
    assert abs(found["correct"] - found["correct_before"]) <= 360 - found["agreed"] < 50
    assert record["images"]["found"] == 1437
    assert (record["images"]["fitted"], record["images"]["held_out"]) == (160, 40)


def test_the_int8_file_is_measured_itself(weights: Path, tmp_path: Path):
    file = tmp_path / "small.onnx"
    arguments = ["digits_cnn", "--weights", weights, "--images", "digits", "--budget", "macs=0.7", "--num-images", 200]
    record = record_of(*arguments, "--int8", file)
    found = record["int8"]
    assert found["bytes"] == file.stat().st_size < 0.45 * 4 * record["params"][1]
    assert (found["integer_layers"] > 5, found["float_layers"]) == (True, {})
    assert found["parity"]["num_images"] == 40
    right = evaluate_file(file, open_data("digits").test).record_fields()["correct"]
    assert found["test"]["correct"] == right > 0.85 * 360
    assert abs(right - record["test"]["correct"]) < 8


def test_the_int8_file_in_words(small: list[object], tmp_path: Path):
    text = call(*small, "--quiet", "--int8", tmp_path / "small.onnx")
    assert "layers in integers" in text
    assert "in integers    top-1 agreement" in text
    assert "Nothing was saved" not in text


def test_image_folders_with_labels(small: list[object], folder: Path):
    small[small.index(folder)] = f"imagefolder:{folder}"
    (folder / "0" / "00.png").write_bytes(b"no picture")
    record = record_of(*small, "--option", "num_classes=2")
    assert record["images"]["found"] + record["test"]["total"] == 61
    assert len(record["images"]["skipped"]) <= 1
    assert "Labels run from 0 to 1, but Sequential scores 1 classes" in call(
        *small, "--option", "num_classes=1", code=1
    )


def test_same_seed_same_network(small: list[object], tmp_path: Path):
    files = []
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        record = record_of(*small, "--num-images", 40, "--seed", seed, "--out", tmp_path / name)
        assert record["images"]["examined"] == 40
        files.append((tmp_path / name / "model.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]


def test_text_without_a_place_to_save(small: list[object]):
    text = call(*small, "--quiet")
    assert "Nothing was saved" in text
    assert "does not say its mean and std: ImageNet's are used" in text
    assert "48 images to fit are few" in text
    assert "test images" not in text


def test_outputs_that_are_no_scores_are_compared_by_their_error(small: list[object], tmp_path: Path):
    record = record_of(f"{tmp_path / 'nets.py'}:maps", *small[1:])
    assert record["parity"]["agreement"] is None
    assert record["parity"]["error"] < record["parity_cut"]["error"]
    assert "top-1" not in call(f"{tmp_path / 'nets.py'}:maps", *small[1:])


@pytest.mark.parametrize(
    ("name", "words"),
    [("normalized", "1 group lost channels that others are normalized with"), ("Fixed", "a graph of its operations")],
)
def test_what_a_cut_took_is_said(name: str, words: str, small: list[object], tmp_path: Path):
    given = [f"{tmp_path / 'nets.py'}:{name}", *small[1:-1], "macs=0.6"]
    assert words in call(*given)
    assert words not in call(*small)


def test_bad_and_gray_images_as_the_user_chose(small: list[object], folder: Path):
    Image.new("L", (9, 9), 40).save(folder / "gray.png")
    (folder / "broken.png").write_bytes(b"no")
    text = call(*small)
    assert "61 of 62 in use" in text
    assert "broken.png cannot be decoded" in text
    assert "gray.png is gray-scale" in text
    images = record_of(*small, "--gray", "skip")["images"]
    assert len(images["skipped"]) == 2
    assert "broken.png cannot be decoded" in call(*small, "--bad", "refuse", code=1)
    assert "gray.png is gray-scale" in call(*small, "--grey", "refuse", code=1)
    assert "one of skip, refuse" in call(*small, "--bad", "ignore", code=1)


def test_a_folder_with_a_test_part_is_pointed_out(small: list[object], folder: Path):
    (folder / "0").rename(folder / "train")
    (folder / "1").rename(folder / "val")
    assert f"Write imagefolder:{folder}" in call(*small)


def test_a_place_that_holds_something_else_is_refused_before_the_work(small: list[object], tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    small[small.index("macs=0.7")] = "macs=nonsense"
    assert "not a convslim artifact" in call(*small, "--out", tmp_path / "mine", code=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--images": "no/such/folder"}, "There is no folder"),
        ({"--images": "no_module:data", "--size": None}, "no_module"),
        ({"--budget": "macs"}, "write METRIC=NUMBER"),
        ({"--budget": "macs=0.5,macs=0.6"}, "given twice"),
        ({"--budget": "macs=0.0001"}, "cannot be reached"),
        ({"--num-images": "19"}, "19 usable images of 60; at least 20 are needed"),
        ({"--size": None}, "give it, for example --size 224"),
        ({"--size": "1,8,8"}, "normalization of"),
        ({"--size": "9", "--resize": "8"}, "have no part of 9×9"),
        ({"--mean": "0.5"}, "must be 3 numbers"),
        ({"--size": "2"}, "Calculated padded input size"),
    ],
)
def test_errors_are_one_message(change: dict[str, str | None], message: str, small: list[object]):
    given = dict(zip(small[1::2], small[2::2], strict=True)) | change
    words = [word for option, value in given.items() if value is not None for word in (option, value)]
    text = call(small[0], *words, code=1)
    assert text.startswith("Error: ")
    assert message in text


@pytest.mark.parametrize(
    "extra",
    [
        ("--resize", "9", "--crop", "0.9"),
        ("--crop", "0"),
        ("--mean", "a,b"),
        ("--size", "8,8"),
        ("--num-images", "0"),
        ("--images", "digits"),
    ],
)
def test_wrong_usage_ends_with_2(small: list[object], extra: tuple[str, ...]):
    call(*small, *extra, code=2)


def test_networks_of_timm_bring_their_preprocessing():
    network = nn.Identity()
    normalization = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    network.pretrained_cfg = {"input_size": (3, 240, 240), "crop_pct": 0.9, "interpolation": "bicubic", **normalization}
    found, notes = preprocessing("timm:any", network, parse_wishes(None, None, None, None, None))
    assert found == Preprocessing((3, 240, 240), 266, "bicubic", (0.5,) * 3, (0.25,) * 3)
    assert notes == []
    found, _ = preprocessing("timm:any", network, parse_wishes("96", None, 1.0, None, "1,1,1"))
    assert found == Preprocessing((3, 96, 96), 96, "bicubic", (0.5,) * 3, (1.0,) * 3)


@pytest.mark.parametrize(
    ("spec", "shape", "side", "note"),
    [
        ("resnet20_cifar", (3, 32, 32), 32, "those of CIFAR-10"),
        ("digits_cnn", (1, 8, 8), 8, "those of the digits"),
        ("torchvision:resnet18", (3, 224, 224), 256, "ImageNet's"),
    ],
)
def test_what_is_only_assumed_is_said(spec: str, shape: tuple[int, int, int], side: int, note: str):
    found, notes = preprocessing(spec, nn.Identity(), parse_wishes(None, None, None, None, None))
    assert (found.input_shape, found.side) == (shape, side)
    assert len(notes) == 1
    assert note in notes[0]


def test_unknown_gray_networks_are_asked_about():
    with pytest.raises(DataError, match="give --mean and --std"):
        preprocessing("nets.py:gray", nn.Identity(), parse_wishes("1,28,28", None, None, "0.5", None))
    found, _ = preprocessing("nets.py:gray", nn.Identity(), parse_wishes("1,28,28", None, None, "0.5", "0.2"))
    assert (found.mean, found.std, found.side) == ((0.5,), (0.2,), 32)


@pytest.mark.parametrize("number", [20, 21, 99, 500, 501, 1024])
def test_every_fifth_batch_is_a_fifth_of_the_images(number: int):
    split = unlabeled_split(
        torch.arange(number).remainder(256).to(torch.uint8).reshape(-1, 1, 1, 1),
        Preprocessing((1, 1, 1), 1, "bilinear", (0.0,), (1 / 255,)),
    )
    found = batches(split)
    assert len(found) % HELD_OUT == 0
    assert max(map(len, found)) <= 100
    held = sum(map(len, found[HELD_OUT - 1 :: HELD_OUT]))
    assert abs(held - number / 5) <= len(found) / HELD_OUT
    assert torch.allclose(torch.cat(found).flatten(), torch.arange(number).remainder(256).float())


def test_nothing_depends_on_the_images_held_out():
    """Other images in their places change the comparison, and not one weight."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 1), nn.Flatten(), nn.Linear(8 * 36, 4))
    pixels = torch.randint(256, (60, 3, 8, 8), dtype=torch.uint8)
    taken = batches(unlabeled_split(pixels, Preprocessing((3, 8, 8), 8, "bilinear", (0.5,) * 3, (0.2,) * 3)))
    other = [torch.randn_like(batch) if number % HELD_OUT == 4 else batch for number, batch in enumerate(taken)]
    one, two = (convslim.compress(network, images, {"macs": 0.6}) for images in (taken, other))
    assert one.parity.error != two.parity.error
    assert one.parity.num_images == 12
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, two.model.state_dict()[name])


def test_help_has_examples():
    assert "convslim compress resnet56_cifar" in call("--help")


def test_data_of_the_user(small: list[object], tmp_path: Path):
    (tmp_path / "own.py").write_text(
        "import torch\nfrom torch.utils.data import TensorDataset\n\n\n"
        "def data():\n"
        "    images = torch.randn(60, 3, 8, 8)\n"
        "    train, test = (TensorDataset(part, torch.arange(len(part)) % 4) for part in images.split((40, 20)))\n"
        "    train.classes = list('abcd')\n"
        "    return train, test\n"
    )
    given = [small[0], "--images", f"{tmp_path / 'own.py'}:data", *small[5:]]
    record = record_of(*given)
    assert record["images"]["found"] == 40
    assert record["test"]["total"] == 20
    text = call(*given)
    assert "On 20 test images: accuracy" in text
    assert "3×8×8 as the data set gives them" in text
