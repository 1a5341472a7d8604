"""`convslim predict`: images, folders and videos, with a file that says what its outputs mean."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from PIL import Image
from tests.data.voc_sample import CLASSES, write_sample
from typer.testing import CliRunner

from convslim import models
from convslim.cli import app
from convslim.export import export_onnx
from convslim.export.metadata import FileFacts

FACTS = FileFacts("detection", CLASSES, (0.5,) * 3, (0.25,) * 3)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """A small detector that sees something everywhere."""
    torch.manual_seed(0)
    model = models.create("yolov3_mobilenetv2", num_classes=2, width=0.1)
    for head in (model.head_small, model.head_middle, model.head_large):
        torch.nn.init.normal_(head.predict.bias)
    path = tmp_path_factory.mktemp("file") / "detector.onnx"
    export_onnx(model, torch.randn(1, 3, 64, 64), path, facts=FACTS)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("voc") / "sample", images=3, side=80) / "JPEGImages"


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["predict", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "boxes.jsonl").read_text().splitlines()]


def test_a_folder_of_images(detector: Path, images: Path, tmp_path: Path):
    text = call(detector, images, "--out", tmp_path, "--threshold", 0.05)
    lines = lines_of(tmp_path)
    assert [line["image"] for line in lines] == ["000000.png", "000001.png", "000002.png"]
    found = [each for line in lines for each in line["objects"]]
    assert f"{len(found)} objects in 3 images" in text
    assert found
    assert {each["class"] for each in found} <= set(CLASSES)
    assert all(0 <= edge <= 80 for each in found for edge in each["box"])
    with Image.open(tmp_path / "000001.png") as picture:
        assert picture.size == (80, 80)


def test_one_image_with_other_names_and_without_pictures(detector: Path, images: Path, tmp_path: Path):
    call(detector, images / "000000.png", "--out", tmp_path, "--threshold", 0.05, "--classes", "x,y", "--no-pictures")
    (line,) = lines_of(tmp_path)
    assert {each["class"] for each in line["objects"]} <= {"x", "y"}
    assert [path.name for path in tmp_path.iterdir()] == ["boxes.jsonl"]


def test_a_video(detector: Path, images: Path, tmp_path: Path):
    av = pytest.importorskip("av")
    film = tmp_path / "film.mp4"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 80, 80, "yuv420p"
        for file in sorted(images.glob("*.png")):
            with Image.open(file) as picture:
                container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    call(detector, film, "--out", tmp_path / "out", "--threshold", 0.05)
    assert [line["frame"] for line in lines_of(tmp_path / "out")] == [0, 1, 2]
    with av.open(str(tmp_path / "out" / "film.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 3
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    assert "cannot be read as a video" in call(detector, tmp_path / "broken.mp4", "--out", tmp_path / "no", code=1)


def test_what_cannot_be_used_is_named(detector: Path, images: Path, tmp_path: Path):
    bare = onnx.load(detector)
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    (tmp_path / "no.onnx").write_bytes(b"nothing")
    (tmp_path / "no.png").write_bytes(b"nothing")
    classifier = onnx.load(detector)
    onnx.helper.set_model_props(classifier, FileFacts("classification", ("a",), (0.0,), (1.0,)).to_metadata())
    onnx.save(classifier, tmp_path / "classifier.onnx")
    out = ["--out", tmp_path / "out"]
    assert "does not say what its outputs mean" in call(tmp_path / "bare.onnx", images, *out, code=1)
    assert "cannot be loaded" in call(tmp_path / "no.onnx", images, *out, code=1)
    assert "is made for classification" in call(tmp_path / "classifier.onnx", images, *out, code=1)
    assert "no.png cannot be decoded" in call(detector, tmp_path / "no.png", *out, code=1)
    assert "threshold=2.0 must lie between 0 and 1" in call(detector, images, *out, "--threshold", 2, code=1)
    (tmp_path / "empty").mkdir()
    assert "has no images" in call(detector, tmp_path / "empty", *out, code=1)
