"""Squares on gray images in the layout of the VOC challenge, and the recipe of the examples with detectors."""

import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image, ImageDraw

from convslim.pipeline import parse_recipe, run

SIDE, CLASSES = 96, ("dark", "light")


def write_images(root: Path, count: int) -> None:
    """Squares, dark or light, in the layout of the VOC challenge."""
    draw = random.Random(0)
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        left, top, kind = draw.randrange(8, 48), draw.randrange(8, 48), draw.choice(CLASSES)
        image = Image.new("RGB", (SIDE, SIDE), "gray")
        ImageDraw.Draw(image).rectangle((left, top, left + 39, top + 39), fill="white" if kind == "light" else "black")
        image.save(root / f"JPEGImages/{number}.png")
        edges = {"xmin": left + 1, "ymin": top + 1, "xmax": left + 40, "ymax": top + 40}
        box = "".join(f"<{tag}>{edge}</{tag}>" for tag, edge in edges.items())
        size = f"<size><width>{SIDE}</width><height>{SIDE}</height></size>"
        objects = f"<object><name>{kind}</name><bndbox>{box}</bndbox></object>"
        (root / f"Annotations/{number}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
    for part, numbers in (("trainval", range(count // 2)), ("test", range(count // 2, count))):
        (root / f"ImageSets/Main/{part}.txt").write_text("".join(f"{number}\n" for number in numbers))


def compress(file: str, factory: str, heads: str, *, cut: dict[str, Any], epochs: int, lr: float) -> None:
    """Train, cut, refit, tune and export a detector that a file of Python code makes.

    Args:
        cut: Of the step `prune`, besides the criterion.
    """
    training = {"optimizer": "adam", "lr": lr, "weight_decay": 0, "batch_size": 4, "evaluate_every": 100}
    training |= {"augment": False, "precision": "bf16"}
    with TemporaryDirectory() as folder:
        write_images(Path(folder, "squares"), 32)
        recipe = parse_recipe(
            {
                "name": factory,
                "threads": 1,
                "model": {"spec": f"{file}:{factory}", "heads": f"{file}:{heads}"},
                "data": {"spec": f"voc:{folder}/squares", "options": {"side": SIDE, "workers": 0}},
                "steps": [
                    {"train": {**training, "epochs": epochs}},
                    {"prune": {"criterion": "l1", "round_to": 8, **cut}},
                    {"reconstruct": {"num_images": 16, "compared": 1}},
                    {"finetune": {**training, "epochs": epochs // 2, "lr": lr / 10}},
                    {"export": {}},
                ],
            }
        )
        record = run(recipe, Path(folder, "run"), quiet=True)
        for step in record.steps:
            if step.measured is not None:
                print(f"{step.kind:12} {step.macs:,} MACs, mAP {step.measured:.2f}")
        print(f"the same outputs from ONNX Runtime, {Path(folder, 'run', 'model.onnx').stat().st_size:,} bytes")
