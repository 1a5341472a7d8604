"""Filters of kept channels that change for the sake of the layer behind."""

import pytest
import torch
from torch import nn

import convslim
from convslim.surgery.reconstruction import producers, reconstruct_
from convslim.surgery.reconstruction.pair import Pair


class Block(nn.Module):
    """A branch with a cut inside, and a shortcut that runs after it."""

    def __init__(self, shortcut: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.conv1 = nn.Conv2d(6, 12, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(12)
        self.conv2 = nn.Conv2d(12, 6, 3, padding=1)
        self.shortcut = shortcut
        self.head = nn.Conv2d(6, 3, 1)

    def forward(self, x):
        x = self.stem(x).relu()
        y = self.conv2(self.bn1(self.conv1(x)).relu())
        return self.head((y + self.shortcut(x)).relu())


def pair_of(model, kept, images):
    graph = convslim.trace(model, images[:1])
    plan = convslim.make_plan(graph, {"conv1": kept})
    small = convslim.remove(model, plan, images[:1], graph=graph)
    return plan, small, Pair(model.eval(), small, plan, [images], graph)


@pytest.fixture
def images():
    torch.manual_seed(1)
    coarse = torch.randn(400, 3, 4, 4)
    return nn.functional.interpolate(coarse, size=8, mode="bilinear") + 0.1 * torch.randn(400, 3, 8, 8)


@pytest.mark.parametrize(
    ("shortcut", "known"),
    [(nn.AvgPool2d(3, 1, 1), True), (nn.Conv2d(6, 6, 1), False), (nn.ReLU(inplace=True), False)],
)
def test_a_shortcut_that_runs_later_is_known_unless_it_has_weights_or_writes(shortcut, known, images):
    torch.manual_seed(0)
    _, _, pair = pair_of(Block(shortcut).eval(), range(6), images)
    site = next(site for site in pair.layers.sites if site.module == "conv2")
    assert (site.addend is not None) == known


def test_the_only_reader_of_a_cut_layer_is_found(images):
    torch.manual_seed(0)
    plan, _, pair = pair_of(Block(nn.AvgPool2d(3, 1, 1)).eval(), range(6), images)
    names = {site.index: site.module for site in pair.layers.sites}
    found = producers.producers(pair.layers, pair.tape, plan)
    assert {names[reader]: site.module for reader, site in found.items()} == {"conv2": "conv1"}


class Fork(nn.Module):
    """A layer that two others read."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.left, self.right = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        y = self.conv1(x).relu()
        return self.left(y) + self.right(y)


def test_a_layer_with_two_readers_keeps_its_filters(images):
    torch.manual_seed(0)
    model = Fork().eval()
    plan, small, pair = pair_of(model, range(4), images)
    assert not producers.producers(pair.layers, pair.tape, plan)
    reconstruct_(small, model, plan, [images])
    assert torch.equal(small.conv1.weight, model.conv1.weight[:4])


@pytest.mark.parametrize("last", ["conv", "linear", "transposed"])
def test_new_filters_lower_the_error_on_new_images(last, images, monkeypatch):
    torch.manual_seed(0)
    layers = {
        "conv": [nn.Conv2d(16, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8)],
        "linear": [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 8)],
        "transposed": [nn.ConvTranspose2d(16, 8, 2, stride=2)],
    }[last]
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(inplace=True), *layers).eval()
    graph = convslim.trace(model, images[:1])
    plan = convslim.make_plan(graph, {"0": range(6)})
    errors = {}
    for turns in (0, producers.TURNS):
        monkeypatch.setattr(producers, "TURNS", turns)
        small = convslim.remove(model, plan, images[:1], graph=graph)
        reconstruct_(small, model, plan, images[:300].split(50), graph=graph, per_image=64)
        with torch.no_grad():
            errors[turns] = float((model(images[300:]) - small(images[300:])).square().mean())
    assert errors[producers.TURNS] < 0.97 * errors[0]
