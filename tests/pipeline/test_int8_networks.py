"""The way of the int8 recipes on other networks: cut, refitted, tuned under guidance, trained in integers, measured."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convslim.models import vgg_cifar
from convslim.pipeline import parse_recipe, run

GUIDED = {
    "epochs": 1,
    "batch_size": 16,
    "lr": 0.001,
    "steps_per_epoch": 1,
    "distill": {"kind": "logits", "temperature": 4, "weight": 0.9, "label_weight": 0.1},
}

STEPS = [
    {
        "prune": {
            "criterion": "reconstruction",
            "allocation": "reconstruction",
            "budget": {"macs": 0.7},
            "round_to": 16,
            "num_batches": 1,
            "batch_size": 16,
        }
    },
    {"reconstruct": {"num_images": 20, "compared": 10, "batch_size": 10}},
    {"finetune": GUIDED},
    {"quantize": {"mode": "qat", "num_images": 16, "compared": 8, "train": GUIDED}},
    {"export": {"latency": None}},
    {"bench": {"repeats": 2, "warmup": 1}},
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of random pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 8)):
        for name in ("one", "two"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number:02}.png")
    return folder


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        ("vgg16_bn_cifar", {}),  # with an eighth of its channels, see below
        ("torchvision:mobilenet_v2", {"width_mult": 0.25}),
        ("timm:test_resnet", {}),
    ],
)
def test_the_same_steps_on_other_networks(
    spec: str, options: dict[str, float], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, colon, _ = spec.partition(":")
    if colon and find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    monkeypatch.setattr(vgg_cifar, "_STAGES", ((16, 16), (16, 16), (32, 32, 32), (64, 64, 64), (64, 64, 64)))
    recipe = parse_recipe(
        {
            "name": "short",
            "threads": 1,
            "model": {"spec": spec, "options": {"num_classes": 2, **options}},
            "data": {
                "spec": f"imagefolder:{pictures}",
                "options": {"size": 32, "mean": [0.5] * 3, "std": [0.25] * 3, "workers": 0},
            },
            "steps": STEPS,
        }
    )
    record = run(recipe, tmp_path / "run", quiet=True)
    quantized = record.steps[3]
    assert quantized.macs <= 0.7 * record.base_macs
    assert quantized.details["file"]["float_layers"] == []
    assert quantized.details["file"]["integer_layers"] == len(quantized.details["layers"])
    assert quantized.total == 16
    assert {row.name for row in record.steps[-1].latency} == {"model-int8.onnx", "model.onnx"}
