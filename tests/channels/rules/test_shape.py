"""Views: which of the new dimensions can shrink, and what is tied across the others."""

import pytest
import torch.nn.functional as F
from tests.channels.sketch import X, conv, places, reasons, sketch, widths
from torch import nn


def test_flattened_maps_give_every_channel_its_block_of_inputs():
    graph = sketch(lambda net, x: net.fc(net.a(x).flatten(1)), X[..., :2, :3], a=conv(3, 4), fc=nn.Linear(24, 2))
    assert places(graph, "a") == {
        ("a.weight", 0): [0, 1, 2, 3],
        ("fc.weight", 1): [[6 * channel + pixel for pixel in range(6)] for channel in range(4)],
    }
    (axis,) = [axis for axis in graph.group("a").axes if axis.tensor == "fc.weight"]
    assert (axis.role, axis.index.shape) == ("in", (4, 6))


def test_flattening_from_channels_last_interleaves_the_inputs():
    def run(net, x):
        return net.fc(net.a(x).permute(0, 2, 3, 1).reshape(1, -1))

    graph = sketch(run, X[..., :2, :3], a=conv(3, 4), fc=nn.Linear(24, 2))
    assert places(graph, "a")["fc.weight", 1] == [[4 * pixel + channel for pixel in range(6)] for channel in range(4)]


@pytest.mark.parametrize(
    "there_and_back",
    [
        lambda x: x.view(1, -1, 64).view(1, -1, 8, 8),
        lambda x: x.reshape(x.size(0), x.size(1), 1, 8, 8).squeeze(2),
        lambda x: x.flatten(2).unflatten(2, (8, 8)),
        lambda x: x.flatten(1).view(1, -1, 8, 8),
        lambda x: x[0].view(1, *x.shape[1:]),
        lambda x: x.view(1, -1, 4, 16).view_as(x),
    ],
)
def test_views_that_keep_the_channels_whole(there_and_back):
    graph = sketch(lambda net, x: net.head(there_and_back(net.a(x))), a=conv(3, 4), head=conv(4, 2))
    assert places(graph, "a") == {("a.weight", 0): [0, 1, 2, 3], ("head.weight", 1): [0, 1, 2, 3]}
    assert graph.group("a").constraints == ()


def shuffle(x, groups):
    batch, channels, height, width = x.shape
    return x.view(batch, groups, channels // groups, height, width).transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize("groups", [2, 3])
def test_a_channel_shuffle_ties_equal_places_of_its_parts(groups):
    graph = sketch(lambda net, x: net.head(shuffle(net.a(x), groups)), a=conv(3, 12), head=conv(12, 2))
    part = 12 // groups
    assert places(graph, "a") == {
        ("a.weight", 0): [[part * g + c for g in range(groups)] for c in range(part)],
        ("head.weight", 1): [[groups * c + g for g in range(groups)] for c in range(part)],
    }
    sentence = f"{groups} channels go together, because a view splits the channel dimension (, test_shape.py:"
    assert graph.group("a").constraints[0].startswith(sentence)


@pytest.mark.parametrize("groups", [2, 3])
def test_the_operation_and_the_view_shuffle_alike(groups):
    by_view = sketch(lambda net, x: net.head(shuffle(net.a(x), groups)), a=conv(3, 12), head=conv(12, 2))
    by_call = sketch(lambda net, x: net.head(F.channel_shuffle(net.a(x), groups)), a=conv(3, 12), head=conv(12, 2))
    assert places(by_view, "a") == places(by_call, "a")


def test_the_code_decides_which_part_of_a_view_shrinks():
    """`-1` may stand for the longer or the shorter part; the trial removal finds out which."""

    def fixed_parts(net, x):
        return net.head(net.a(x).view(1, 2, -1, 8, 8).prod(1))

    def fixed_length(net, x):
        return net.head(net.a(x).view(1, -1, 6, 8, 8).prod(1))

    first = sketch(fixed_parts, a=conv(3, 12), head=conv(6, 2))
    assert places(first, "a")["a.weight", 0] == [[c, 6 + c] for c in range(6)]
    second = sketch(fixed_length, a=conv(3, 12), head=conv(6, 2))
    assert widths(second) == {}
    assert "prod runs over the channels (aten.prod.dim_int" in reasons(second, "a")


def test_whole_rows_of_a_view_may_go_where_the_code_allows_it():
    def run(net, x):
        return net.head(net.a(x).view(1, -1, 6, 8, 8).flatten(1, 2))

    graph = sketch(run, a=conv(3, 12), head=conv(12, 2))
    assert places(graph, "a")["a.weight", 0] == [list(range(6)), list(range(6, 12))]


def test_numbers_fixed_on_both_sides_pin():
    def run(net, x):
        return net.head(net.a(x).view(1, 3, 4, 8, 8).flatten(1, 2))

    graph = sketch(run, a=conv(3, 12), head=conv(12, 2))
    assert "the numbers of a view are fixed in the code (aten.view.default, test_shape.py:" in reasons(graph, "a")


def test_a_fixed_total_pins():
    graph = sketch(lambda net, x: net.fc(net.a(x).view(-1, 256)), a=conv(3, 4), fc=nn.Linear(256, 2))
    assert "aten.view.default" in reasons(graph, "a")
    assert "fixed in the code" in reasons(graph, "a")


def test_pixel_shuffle_takes_blocks_of_channels_into_one():
    graph = sketch(lambda net, x: net.head(F.pixel_shuffle(net.a(x), 2)), a=conv(3, 12), head=conv(3, 2))
    assert places(graph, "a") == {
        ("a.weight", 0): [[4 * c + i for i in range(4)] for c in range(3)],
        ("head.weight", 1): [0, 1, 2],
    }
    assert "4 channels go together into one by pixel_shuffle" in graph.group("a").constraints[0]


def test_pixel_unshuffle_takes_a_channel_into_a_block():
    graph = sketch(lambda net, x: net.head(F.pixel_unshuffle(net.a(x), 2)), a=conv(3, 3), head=conv(12, 2))
    assert places(graph, "a")["head.weight", 1] == [[4 * c + i for i in range(4)] for c in range(3)]


def test_pixel_unshuffle_undoes_pixel_shuffle():
    def run(net, x):
        return net.head(F.pixel_unshuffle(F.pixel_shuffle(net.a(x), 2), 2))

    graph = sketch(run, a=conv(3, 8), head=conv(8, 2))
    assert places(graph, "a") == {
        ("a.weight", 0): [[0, 1, 2, 3], [4, 5, 6, 7]],
        ("head.weight", 1): [[0, 1, 2, 3], [4, 5, 6, 7]],
    }


def test_a_view_that_merges_two_channel_dimensions_pins_one():
    def run(net, x):
        rows = net.a(x).flatten(2)
        product = rows @ net.b(x).flatten(2).transpose(1, 2)
        return net.fc(product.flatten(1))

    graph = sketch(run, a=conv(3, 4), b=conv(3, 5), fc=nn.Linear(20, 2))
    assert "the view merges two channel dimensions into one" in reasons(graph, "b")
    assert places(graph, "a")["fc.weight", 1] == [[5 * row + column for column in range(5)] for row in range(4)]
