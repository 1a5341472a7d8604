"""Boxes in an image's own pixels, drawn where they are."""

import pytest
import torch
from PIL import Image

from convslim.data.heads import Detections
from convslim.detection.decode import encode
from convslim.detection.picture import COLORS, beside, drawn, find

SIDE = 64
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def seeing(box: torch.Tensor, label: int, seen: list[torch.Tensor] | None = None):
    """A network that always sees one box, given in pixels of its input."""

    def network(images: torch.Tensor) -> list[torch.Tensor]:
        if seen is not None:
            seen.append(images)
        maps = [torch.full((1, 3 * 7, SIDE // stride, SIDE // stride), -20.0) for stride in (8, 16, 32)]
        cell = ((box[:2] + box[2:]) / 16).long()
        column, row = cell.tolist()
        maps[0][0, :4, row, column] = encode(box[None], cell[None], 8)[0]
        maps[0][0, 4, row, column] = maps[0][0, 5 + label, row, column] = 10.0
        return maps

    return network


@pytest.mark.parametrize(
    ("size", "box"),
    [((128, 64), (20.0, 10.0, 60.0, 50.0)), ((64, 128), (10.0, 30.0, 50.0, 90.0)), ((30, 30), (3.0, 6.0, 21.0, 27.0))],
)
def test_boxes_come_back_to_the_image(size, box):
    scale = SIDE / max(size)
    offset = torch.tensor([(SIDE - scale * size[0]) / 2, (SIDE - scale * size[1]) / 2] * 2)
    inside = torch.tensor(box) * scale + offset
    found = find(seeing(inside, 1), Image.new("RGB", size), SIDE, **PLAIN)
    assert found.labels.tolist() == [1]
    assert found.boxes[0].tolist() == pytest.approx(box, abs=1e-3)
    assert float(found.scores[0]) > 0.99


def test_boxes_end_at_the_border():
    found = find(seeing(torch.tensor([-30.0, 2, 70, 40]), 0), Image.new("RGB", (64, 64)), SIDE, **PLAIN)
    assert found.boxes[0].tolist() == pytest.approx([0, 2, 64, 40], abs=1e-3)


def test_the_image_is_normalized():
    seen: list[torch.Tensor] = []
    options = {"mean": (0.5, 0.25, 0.0), "std": (0.5, 0.25, 0.1)}
    find(seeing(torch.tensor([0.0, 0, 8, 8]), 0, seen), Image.new("RGB", (64, 64), (255, 0, 51)), SIDE, **options)
    assert seen[0][0, :, 5, 5].tolist() == pytest.approx([1.0, -1.0, 2.0])


def test_a_surer_score_is_asked_for():
    found = find(seeing(torch.tensor([8.0, 8, 40, 40]), 0), Image.new("RGB", (64, 64)), SIDE, **PLAIN, threshold=1.0)
    assert len(found.labels) == 0
    assert drawn(Image.new("RGB", (64, 64), "white"), found, ()).getcolors() == [(64 * 64, (255, 255, 255))]


def test_boxes_are_drawn_with_the_color_of_their_class():
    image = Image.new("RGB", (100, 80), "white")
    box = torch.tensor([[20.0, 30, 90, 70]])
    found = Detections(box, torch.tensor([0.9]), torch.tensor([1]))
    picture = drawn(image, found, ("a", "b"))
    color = tuple(int(COLORS[1][place : place + 2], 16) for place in (1, 3, 5))
    assert picture.getpixel((50, 70)) == picture.getpixel((20, 50)) == color
    assert image.getpixel((50, 70)) == (255, 255, 255)
    both = beside(image, picture)
    assert both.size == (208, 80)
    assert both.getpixel((158, 70)) == color
