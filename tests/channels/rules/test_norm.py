"""Normalization: per channel it is exact, over channels it pins."""

import pytest
import torch
import torch.nn.functional as F
from tests.channels.sketch import X, conv, places, reasons, sketch, widths
from torch import nn

STATISTICS = ("weight", "bias", "running_mean", "running_var")


def normed(norm, example=X, **parts):
    return sketch(
        lambda net, x: net.head(net.norm(net.a(x))), example, a=conv(3, 4), norm=norm, head=conv(4, 2), **parts
    )


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_is_per_channel(training):
    graph = normed(nn.BatchNorm2d(4, track_running_stats=not training))
    leaves = STATISTICS[:2] if training else STATISTICS
    assert places(graph, "a") == {
        ("a.weight", 0): [0, 1, 2, 3],
        **{(f"norm.{leaf}", 0): [0, 1, 2, 3] for leaf in leaves},
        ("head.weight", 1): [0, 1, 2, 3],
    }
    assert {axis.role for axis in graph.group("a").axes if axis.tensor.startswith("norm")} == {"scale"}


def test_batch_norm_of_a_concatenation_is_cut_in_parts():
    def run(net, x):
        return net.head(net.norm(torch.cat([net.a(x), net.b(x)], 1)))

    graph = sketch(run, a=conv(3, 3), b=conv(3, 2), norm=nn.BatchNorm2d(5), head=conv(5, 2))
    for leaf in STATISTICS:
        assert places(graph, "a")[f"norm.{leaf}", 0] == [0, 1, 2]
        assert places(graph, "b")[f"norm.{leaf}", 0] == [3, 4]


def test_batch_norm_of_the_networks_input_stays_whole():
    graph = sketch(lambda net, x: net.a(net.norm(x)), norm=nn.BatchNorm2d(3), a=conv(3, 4))
    assert graph.prunable == ()


def test_functional_batch_norm_over_raw_buffers():
    def run(net, x):
        return net.head(F.batch_norm(net.a(x), net.mean, net.var, eps=1e-3))

    graph = sketch(run, a=conv(3, 4), mean=torch.zeros(4), var=torch.ones(4), head=conv(4, 2))
    assert places(graph, "a")["mean", 0] == places(graph, "a")["var", 0] == [0, 1, 2, 3]


def test_batch_norm_on_vectors():
    def run(net, x):
        return net.fc(net.norm(net.a(x.mean((2, 3)))))

    graph = sketch(run, a=nn.Linear(3, 4), norm=nn.BatchNorm1d(4), fc=nn.Linear(4, 2))
    assert places(graph, "a")["norm.running_var", 0] == [0, 1, 2, 3]


@pytest.mark.parametrize("affine", [True, False])
def test_instance_norm_is_per_channel(affine):
    graph = normed(nn.InstanceNorm2d(4, affine=affine))
    assert widths(graph) == {"a": 4}
    assert (("norm.weight", 0) in places(graph, "a")) == affine


def test_group_norm_of_single_channels_is_exact_and_its_number_follows():
    graph = normed(nn.GroupNorm(4, 4))
    assert places(graph, "a")["norm.bias", 0] == [0, 1, 2, 3]


@pytest.mark.parametrize("groups", [1, 2])
def test_group_norm_over_several_channels_pins(groups):
    graph = normed(nn.GroupNorm(groups, 4))
    assert "group normalization mixes the statistics of several channels (aten.native_group_norm" in reasons(graph, "a")


def test_layer_norm_over_channels_pins():
    def run(net, x):
        return net.fc(net.norm(net.a(x).permute(0, 2, 3, 1)).mean((1, 2)))

    graph = sketch(run, a=conv(3, 4), norm=nn.LayerNorm(4), fc=nn.Linear(4, 2))
    assert "layer normalization runs over the channels (aten.native_layer_norm.default, in norm" in reasons(graph, "a")


def test_layer_norm_over_space_is_free():
    graph = normed(nn.LayerNorm((8, 8)))
    assert places(graph, "a") == {("a.weight", 0): [0, 1, 2, 3], ("head.weight", 1): [0, 1, 2, 3]}


def test_weight_norm_is_followed():
    graph = sketch(
        lambda net, x: net.head(net.a(x)), a=nn.utils.parametrizations.weight_norm(conv(3, 4)), head=conv(4, 2)
    )
    assert places(graph, "a") == {
        ("a.parametrizations.weight.original0", 0): [0, 1, 2, 3],
        ("a.parametrizations.weight.original1", 0): [0, 1, 2, 3],
        ("head.weight", 1): [0, 1, 2, 3],
    }


def test_weight_norm_over_the_inputs_pins_what_it_reads():
    net = nn.utils.parametrizations.weight_norm(conv(4, 2))
    graph = sketch(lambda net, x: net.head(net.a(x)), a=conv(3, 4), head=net)
    assert "weight normalization runs over these channels" in reasons(graph, "a")


def test_rms_over_channels_pins():
    def run(net, x):
        x = net.a(x)
        return net.head(x * x.pow(2).mean(1, keepdim=True).rsqrt())

    assert "mean runs over the channels" in reasons(sketch(run, a=conv(3, 4), head=conv(4, 2)), "a")
