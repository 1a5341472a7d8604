"""Pooling, resizing, padding and patches: over space channels pass."""

import pytest
import torch
import torch.nn.functional as F
from tests.channels.sketch import conv, places, reasons, sketch, widths
from torch import nn


@pytest.mark.parametrize(
    "move",
    [
        nn.MaxPool2d(2),
        nn.AvgPool2d(2),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.AdaptiveAvgPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.AdaptiveMaxPool2d(3),
        nn.LPPool2d(2, 2),
        nn.FractionalMaxPool2d(2, output_size=3),
        nn.Upsample(scale_factor=2),
        nn.Upsample(size=(5, 7), mode="bilinear", align_corners=True),
        nn.Upsample(scale_factor=2, mode="bicubic"),
        nn.ReflectionPad2d(1),
        nn.ReplicationPad2d(2),
        nn.ZeroPad2d(1),
        nn.CircularPad2d(1),
        lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact"),
        lambda x: F.interpolate(x, 5, mode="bilinear", antialias=True),
        lambda x: F.grid_sample(x, torch.zeros(1, 4, 4, 2), align_corners=False),
        lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), (2, 2)),
        lambda x: F.max_pool1d(x.flatten(2), 2).unsqueeze(2),
        lambda x: F.avg_pool3d(x.unsqueeze(2), (1, 2, 2)).squeeze(2),
    ],
)
def test_channels_pass(move):
    graph = sketch(lambda net, x: net.head(move(net.a(x))), a=conv(3, 4), head=conv(4, 2))
    assert places(graph, "a") == {("a.weight", 0): [0, 1, 2, 3], ("head.weight", 1): [0, 1, 2, 3]}


@pytest.mark.parametrize(
    ("pool", "name"),
    [
        (lambda x: F.avg_pool1d(x.mean((2, 3))[:, None], 2), "avg_pool"),
        (lambda x: F.max_pool2d(x.permute(0, 2, 3, 1), (1, 2)).flatten(1, 2), "max_pool2d"),
        (lambda x: F.interpolate(x.flatten(2).transpose(1, 2), 6), "upsample_nearest1d"),
        (lambda x: F.pad(x.flatten(2).transpose(1, 2), (1, 1), mode="reflect"), "reflection_pad1d"),
    ],
)
def test_pooling_along_the_channels_pins(pool, name):
    graph = sketch(lambda net, x: pool(net.a(x)).mean(-1), a=conv(3, 4))
    assert f"{name}" in reasons(graph, "a")
    assert "runs along the channel dimension" in reasons(graph, "a")
    assert widths(graph) == {}


def test_coordinates_made_of_channels_pin():
    def run(net, x):
        return net.head(F.grid_sample(net.a(x), net.offset(x).permute(0, 2, 3, 1), align_corners=False))

    graph = sketch(run, a=conv(3, 4), offset=conv(3, 2), head=conv(4, 2))
    assert widths(graph) == {"a": 4}
    assert "reads the channels as coordinates" in reasons(graph, "offset")


def test_patches_repeat_every_channel():
    def run(net, x):
        return net.fc(F.unfold(net.a(x), 2, stride=2).transpose(1, 2))

    graph = sketch(run, a=conv(3, 4), fc=nn.Linear(16, 2))
    assert places(graph, "a")["fc.weight", 1] == [[4 * channel + tap for tap in range(4)] for channel in range(4)]


def test_unpooling_by_the_places_of_another_layer_unites():
    def run(net, x):
        _, where = F.max_pool2d(net.a(x), 2, return_indices=True)
        return net.head(F.max_unpool2d(net.b(x)[:, :, ::2, ::2], where, 2))

    graph = sketch(run, a=conv(3, 4), b=conv(3, 4), head=conv(4, 2))
    assert {*graph.group("a").producers} == {"a", "b"}
