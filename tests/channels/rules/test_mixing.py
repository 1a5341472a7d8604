"""Mixing: convolutions and products end some channels and begin others."""

import pytest
import torch
import torch.nn.functional as F
from tests.channels.sketch import X, conv, places, reasons, sketch, widths
from torch import nn

from convslim import make_plan


def test_a_convolution_makes_filters_and_reads_channels():
    graph = sketch(lambda net, x: net.head(net.a(x)), a=nn.Conv2d(3, 4, 3), head=nn.Conv2d(4, 2, 1))
    roles = {(axis.tensor, axis.dim): axis.role for axis in graph.group("a").axes}
    assert roles == {("a.weight", 0): "out", ("a.bias", 0): "scale", ("head.weight", 1): "in"}
    assert (graph.group("a").producers, graph.group("a").consumers) == (("a",), ("head",))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_any_number_of_spatial_dimensions(dims):
    kinds = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
    ups = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
    graph = sketch(
        lambda net, x: net.head(net.up(net.a(x))),
        torch.ones(1, 3, *[4] * dims),
        a=kinds[dims](3, 4, 3, bias=False),
        up=ups[dims](4, 5, 2, bias=False),
        head=kinds[dims](5, 2, 1, bias=False),
    )
    assert places(graph, "a") == {("a.weight", 0): [0, 1, 2, 3], ("up.weight", 0): [0, 1, 2, 3]}
    assert places(graph, "up") == {("up.weight", 1): [0, 1, 2, 3, 4], ("head.weight", 1): [0, 1, 2, 3, 4]}


def test_depthwise_filters_are_the_channels_they_filter():
    graph = sketch(lambda net, x: net.head(net.d(net.a(x))), a=conv(3, 4), d=conv(4, 4, 3, groups=4), head=conv(4, 2))
    numbers = [0, 1, 2, 3]
    assert places(graph, "a") == {("a.weight", 0): numbers, ("d.weight", 0): numbers, ("head.weight", 1): numbers}
    assert graph.group("a").constraints == ()
    assert make_plan(graph, {"a": [1, 3]}).attributes == {"d.groups": 2}


def test_a_depthwise_multiplier_repeats_the_channels():
    graph = sketch(lambda net, x: net.head(net.d(net.a(x))), a=conv(3, 3), d=conv(3, 6, 3, groups=3), head=conv(6, 2))
    blocks = [[0, 1], [2, 3], [4, 5]]
    assert places(graph, "a") == {("a.weight", 0): [0, 1, 2], ("d.weight", 0): blocks, ("head.weight", 1): blocks}
    assert "each channel is read by 2 depthwise filters" in graph.group("a").constraints[0]
    assert make_plan(graph, {"a": [2]}).attributes == {"d.groups": 1}


def test_few_conv_groups_tie_equal_places_of_all():
    graph = sketch(lambda net, x: net.head(net.g(net.a(x))), a=conv(3, 8), g=conv(8, 6, 3, groups=2), head=conv(6, 2))
    assert places(graph, "a") == {
        ("a.weight", 0): [[0, 4], [1, 5], [2, 6], [3, 7]],
        ("g.weight", 1): [0, 1, 2, 3],
    }
    assert places(graph, "g") == {
        ("g.weight", 0): [[0, 3], [1, 4], [2, 5]],
        ("head.weight", 1): [[0, 3], [1, 4], [2, 5]],
    }
    assert "equal positions of the 2 conv groups go together" in graph.group("a").constraints[0]
    assert make_plan(graph, {"a": [1], "g": [0, 2]}).attributes == {}


def test_many_conv_groups_go_whole():
    graph = sketch(lambda net, x: net.head(net.g(net.a(x))), a=conv(3, 12), g=conv(12, 6, 3, groups=6), head=conv(6, 2))
    pairs = [[2 * group, 2 * group + 1] for group in range(6)]
    assert places(graph, "a") == {
        ("a.weight", 0): pairs,
        ("g.weight", 0): [0, 1, 2, 3, 4, 5],
        ("head.weight", 1): [0, 1, 2, 3, 4, 5],
    }
    assert "conv groups of 2 channels are removed whole" in graph.group("a").constraints[0]
    assert make_plan(graph, {"a": [0, 4, 5]}).attributes == {"g.groups": 3}


def test_grouped_transposed_convolutions():
    graph = sketch(
        lambda net, x: net.head(net.g(net.a(x))),
        a=conv(3, 8),
        g=nn.ConvTranspose2d(8, 6, 2, groups=2, bias=False),
        head=conv(6, 2),
    )
    assert places(graph, "a")["g.weight", 0] == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert places(graph, "g") == {("g.weight", 1): [0, 1, 2], ("head.weight", 1): [[0, 3], [1, 4], [2, 5]]}


def test_depthwise_transposed_convolutions():
    graph = sketch(
        lambda net, x: net.head(net.g(net.a(x))),
        a=conv(3, 4),
        g=nn.ConvTranspose2d(4, 8, 2, groups=4, bias=False),
        head=conv(8, 2),
    )
    blocks = [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert places(graph, "a") == {
        ("a.weight", 0): [0, 1, 2, 3],
        ("g.weight", 0): [0, 1, 2, 3],
        ("head.weight", 1): blocks,
    }


def test_the_networks_input_is_read_by_nothing_that_shrinks():
    graph = sketch(lambda net, x: net.head(net.a(x)), a=conv(3, 4), head=conv(4, 2))
    assert all(("a.weight", 1) not in places(graph, group.name) for group in graph.groups)


def test_linear_layers_with_and_without_bias():
    def run(net, x):
        return net.head(net.b(net.a(x.mean((2, 3))).relu()))

    graph = sketch(run, a=nn.Linear(3, 4), b=nn.Linear(4, 5, bias=False), head=nn.Linear(5, 2))
    assert places(graph, "a") == {
        ("a.weight", 0): [0, 1, 2, 3],
        ("a.bias", 0): [0, 1, 2, 3],
        ("b.weight", 1): [0, 1, 2, 3],
    }
    assert places(graph, "b") == {("b.weight", 0): [0, 1, 2, 3, 4], ("head.weight", 1): [0, 1, 2, 3, 4]}
    assert {group.producers for group in graph.groups} == {("a",), ("b",), ("head",)}


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_linear_layers_on_any_rank(rank):
    x = torch.ones(*[2] * (rank - 1), 6)
    graph = sketch(lambda net, x: net.b(net.a(x).relu()), x, a=nn.Linear(6, 4), b=nn.Linear(4, 3))
    assert widths(graph) == {"a": 4}
    assert places(graph, "a")["b.weight", 1] == [0, 1, 2, 3]


def test_raw_parameters_and_functional_calls():
    def run(net, x):
        x = F.conv2d(x, net.w).relu()
        x = torch.einsum("bchw,oc->bohw", x, net.v)
        return (x.permute(0, 2, 3, 1) @ net.m).sum((1, 2))

    def weight(*shape):
        return nn.Parameter(torch.randn(shape))

    graph = sketch(run, w=weight(4, 3, 1, 1), v=weight(5, 4), m=weight(5, 2))
    found = sorted((group.num_channels, *sorted(places(graph, group.name))) for group in graph.prunable)
    assert found == [(4, ("v", 1), ("w", 0)), (5, ("m", 0), ("v", 0))]


def test_a_product_of_two_feature_maps_ties_what_it_sums_over():
    def run(net, x):
        a, b = net.a(x).flatten(2), net.b(x).flatten(2)
        return net.head(torch.bmm(a.transpose(1, 2), b)[:, None])

    graph = sketch(run, a=conv(3, 4), b=conv(3, 4), head=conv(1, 2))
    assert graph.group("a").producers == ("a", "b")
    assert widths(graph) == {"a": 4}


@pytest.mark.parametrize("repeat", [1, 3])
def test_a_shared_layer_makes_the_same_channels_every_time(repeat):
    def run(net, x):
        x = net.a(x)
        for _ in range(repeat):
            x = net.b(x).relu()
        return net.head(x)

    graph = sketch(run, a=conv(3, 4), b=conv(4, 4), head=conv(4, 2))
    assert widths(graph) == ({"a": 4, "b": 4} if repeat == 1 else {"a": 4})


def test_computed_weights_are_followed_to_their_parameter():
    def run(net, x):
        weight = net.a.weight - net.a.weight.mean((1, 2, 3), keepdim=True)
        return net.head(F.conv2d(x, weight))

    graph = sketch(run, a=conv(3, 4), head=conv(4, 2))
    (group,) = graph.prunable
    assert places(graph, group.name) == {("a.weight", 0): [0, 1, 2, 3], ("head.weight", 1): [0, 1, 2, 3]}


def test_kernels_made_of_channels_pin_them():
    def run(net, x):
        kernel = net.k(x).mean((2, 3)).view(4, 1, 3, 3)
        return net.head(F.conv2d(net.a(x), kernel, groups=4, padding=1))

    graph = sketch(run, a=conv(3, 4), k=conv(3, 36), head=conv(4, 2))
    assert "k" not in widths(graph)


def test_a_convolution_along_the_channels_pins():
    def run(net, x):
        x = net.a(x).mean((2, 3))
        return net.head(torch.sigmoid(net.eca(x[:, None])).view(1, -1, 1, 1) * net.a(X))

    graph = sketch(run, a=conv(3, 4), eca=nn.Conv1d(1, 1, 3, padding=1), head=conv(4, 2))
    assert "a convolution runs over the channels (aten.convolution.default, in eca, test_mixing.py:" in reasons(
        graph, "a"
    )


def test_layer_calls_count_products():
    def run(net, x):
        x = net.b(net.a(x))
        return net.fc(net.up(x).mean((2, 3)))

    parts = {"a": conv(3, 4, 3, stride=2), "b": conv(4, 4, groups=4), "up": nn.ConvTranspose2d(4, 2, 2, stride=2)}
    graph = sketch(run, **parts, fc=nn.Linear(2, 5))
    assert [(call.module, call.operation, call.weight, call.macs()) for call in graph.calls] == [
        ("a", "convolution", "a.weight", 16 * 4 * 27),
        ("b", "convolution", "b.weight", 16 * 4),
        ("up", "convolution", "up.weight", 16 * 4 * 8),
        ("fc", "addmm", "fc.weight", 10),
    ]
