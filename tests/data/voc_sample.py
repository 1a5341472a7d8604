"""A small detection set in the VOC layout: bright squares and dark discs on noise."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("disc", "square")
KINDS = {"disc": "ellipse", "square": "rectangle"}
COLORS = {"disc": (20, 30, 200), "square": (240, 220, 40)}


def write_sample(root: Path, *, images: int = 20, side: int = 96, seed: int = 0) -> Path:
    """Write so many images with one to three objects each; lists `train` (three quarters) and `test`."""
    random = np.random.default_rng(seed)
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    names = [f"{number:06d}" for number in range(images)]
    for name in names:
        _write_image(root, name, side, random)
    cut = images * 3 // 4
    for split, part in (("train", names[:cut]), ("test", names[cut:])):
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in part))
    return root


def _write_image(root: Path, name: str, side: int, random: np.random.Generator) -> None:
    image = Image.fromarray(random.integers(90, 140, (side, side, 3)).astype(np.uint8))
    drawing = ImageDraw.Draw(image)
    objects = ""
    for quadrant in random.permutation(4)[: int(random.integers(1, 4))]:
        kind = CLASSES[int(random.integers(2))]
        size = int(random.integers(side // 5, side // 3))
        left, top = (
            int(random.integers(0, side // 2 - size)) + side // 2 * int(place) for place in divmod(quadrant, 2)
        )
        getattr(drawing, KINDS[kind])((left, top, left + size - 1, top + size - 1), fill=COLORS[kind])
        corners = (left + 1, top + 1, left + size, top + size)
        box = "".join(
            f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
        )
        objects += f"<object><name>{kind}</name><bndbox>{box}</bndbox></object>"
    image.save(root / "JPEGImages" / f"{name}.png")
    size_tag = f"<size><width>{side}</width><height>{side}</height><depth>3</depth></size>"
    (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size_tag}{objects}</annotation>")
