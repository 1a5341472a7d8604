"""Normalization: per channel it is exact, over channels it is approximate."""

import pytest
import torch
import torch.nn.functional as F
from tests.channels.sketch import X, conv, places, sketch, widths
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


def test_normalization_groups_are_removed_whole_where_there_are_many():
    graph = normed(nn.GroupNorm(2, 4))
    assert places(graph, "a")["norm.weight", 0] == [[0, 1], [2, 3]]
    assert graph.group("a").exact


def test_equal_positions_go_where_normalization_groups_are_few():
    wide = sketch(
        lambda net, x: net.head(net.norm(net.a(x))), a=conv(3, 12), norm=nn.GroupNorm(2, 12), head=conv(12, 2)
    )
    assert places(wide, "a")["norm.weight", 0] == [[c, c + 6] for c in range(6)]
    assert [pin.reason for pin in wide.group("a").approximations] == ["group normalization runs over several channels"]


def test_a_fixed_number_of_normalization_groups_leaves_equal_positions():
    def run(net, x):
        return net.head(F.group_norm(net.a(x), 4))

    graph = sketch(run, a=conv(3, 8), head=conv(8, 2))
    assert places(graph, "a")["a.weight", 0] == [[0, 2, 4, 6], [1, 3, 5, 7]]
    assert not graph.group("a").exact


def test_a_single_normalization_group_shrinks():
    graph = normed(nn.GroupNorm(1, 4))
    assert widths(graph) == {"a": 4}
    assert not graph.group("a").exact


@pytest.mark.parametrize("norm", [nn.LayerNorm(4), nn.RMSNorm(4)])
def test_layer_norm_over_channels_is_approximate(norm):
    def run(net, x):
        return net.fc(net.norm(net.a(x).permute(0, 2, 3, 1)).mean((1, 2)))

    graph = sketch(run, a=conv(3, 4), norm=norm, fc=nn.Linear(4, 2))
    assert places(graph, "a")["norm.weight", 0] == [0, 1, 2, 3]
    assert "runs over the channels (aten." in graph.explain("a")
    assert not graph.group("a").exact


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


def test_weight_norm_over_the_inputs_is_approximate_for_what_it_reads():
    net = nn.utils.parametrizations.weight_norm(conv(4, 2))
    graph = sketch(lambda net, x: net.head(net.a(x)), a=conv(3, 4), head=net)
    assert [pin.reason for pin in graph.group("a").approximations] == ["weight normalization runs over these channels"]


def test_standardized_weights_are_approximate_for_what_they_read():
    def run(net, x):
        weight = F.batch_norm(net.w.reshape(1, len(net.w), -1), None, None, net.gain, training=True).reshape(
            net.w.shape
        )
        return net.head(F.conv2d(net.a(x), weight))

    graph = sketch(run, a=conv(3, 6), w=torch.randn(4, 6, 1, 1), gain=torch.ones(4), head=conv(4, 2))
    assert {group.name: group.exact for group in graph.prunable}.get("a") is False
    assert places(graph, "a")["w", 1] == [0, 1, 2, 3, 4, 5]


def test_rms_over_channels_is_approximate():
    def run(net, x):
        x = net.a(x)
        return net.head(x * x.pow(2).mean(1, keepdim=True).rsqrt())

    assert not sketch(run, a=conv(3, 4), head=conv(4, 2)).group("a").exact
