"""Element-wise: operands that meet are one channel."""

import pytest
import torch
import torch.nn.functional as F
from tests.channels.sketch import X, conv, places, reasons, sketch, widths
from torch import nn


@pytest.mark.parametrize(
    "meet",
    [
        lambda a, b: a + b,
        lambda a, b: a.mul(b),
        lambda a, b: torch.maximum(a, b),
        lambda a, b: torch.where(a > 0, a, b),
        lambda a, b: torch.lerp(a, b, 0.5),
        lambda a, b: torch.addcmul(a, a, b),
        lambda a, b: a.clone().copy_(b) + a,
        lambda a, b: a.masked_fill(b > 0, 0.0),
        lambda a, b: torch.clamp(a, b - 1, b + 1),
        lambda a, b: torch.add(a, b, out=torch.empty_like(a)),
    ],
)
def test_two_branches_become_one_group(meet):
    graph = sketch(lambda net, x: net.head(meet(net.a(x), net.b(x))), a=conv(3, 4), b=conv(3, 4), head=conv(4, 2))
    numbers = [0, 1, 2, 3]
    assert places(graph, "a") == {("a.weight", 0): numbers, ("b.weight", 0): numbers, ("head.weight", 1): numbers}


@pytest.mark.parametrize(
    "act",
    [
        F.relu, F.gelu, F.silu, F.mish, F.hardswish, F.hardsigmoid, F.relu6, F.elu, F.selu, F.celu, F.leaky_relu,
        F.softplus, F.logsigmoid, F.softsign, F.tanhshrink, F.hardshrink, F.softshrink, torch.tanh,
        torch.sigmoid, torch.abs, torch.exp, torch.sign, torch.square, torch.nan_to_num, torch.round, torch.erf,
        lambda x: x**2, lambda x: 1 / (x + 9), lambda x: x.clamp(-1, 1), lambda x: x.half().float(), lambda x: -x,
        lambda x: x * 0.5 + 1, lambda x: F.dropout(x, 0.5, True), lambda x: (x > 0).float(), torch.logit,
        lambda x: F.threshold(x, 0.1, 0.0, True),
    ],
)  # fmt: skip
def test_activations_pass(act):
    graph = sketch(lambda net, x: net.head(act(net.a(x))), a=conv(3, 4), head=conv(4, 2))
    assert places(graph, "a") == {("a.weight", 0): [0, 1, 2, 3], ("head.weight", 1): [0, 1, 2, 3]}


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1), (4, 8, 8)])
def test_parameters_per_channel_join_as_scales(shape):
    graph = sketch(
        lambda net, x: net.head(net.a(x) * net.scale),
        a=conv(3, 4),
        scale=nn.Parameter(torch.ones(shape)),
        head=conv(4, 2),
    )
    dim = shape.index(4)
    assert places(graph, "a")["scale", dim] == [0, 1, 2, 3]
    assert {axis.role for axis in graph.group("a").axes if axis.tensor == "scale"} == {"scale"}


@pytest.mark.parametrize(
    ("gate", "axis"),
    [
        (lambda net, x: net.gate(x.mean((2, 3), keepdim=True)), ("gate.weight", 0)),
        (lambda net, x: net.fc(x.mean((2, 3)))[:, :, None, None], ("fc.weight", 0)),
        (lambda net, x: net.fc(x.mean((2, 3))).view(1, -1, 1, 1), ("fc.weight", 0)),
    ],
)
def test_gates_follow_what_they_gate(gate, axis):
    parts = {"a": conv(3, 4), "gate": conv(4, 4), "fc": nn.Linear(4, 4, bias=False), "head": conv(4, 2)}
    graph = sketch(lambda net, x: net.head((x := net.a(x)) * gate(net, x).sigmoid()), **parts)
    assert places(graph, "a")[axis] == [0, 1, 2, 3]
    assert widths(graph)["a"] == 4


@pytest.mark.parametrize("constant", [2.0, torch.tensor(2.0), torch.ones(1, 1, 8, 8), torch.ones(8)])
def test_constants_that_are_equal_for_all_channels_pass(constant):
    graph = sketch(lambda net, x: net.head(net.a(x) * constant), a=conv(3, 4), head=conv(4, 2))
    assert widths(graph) == {"a": 4}


def test_constants_of_the_code_per_channel_pin():
    ramp = torch.arange(4.0)[:, None, None]
    graph = sketch(lambda net, x: net.head(net.a(x) * ramp), a=conv(3, 4), head=conv(4, 2))
    assert "the channels meet a constant, whose positions stay (aten.mul.Tensor, test_elementwise.py:" in reasons(
        graph, "a"
    )


def test_buffers_per_channel_are_cut_along():
    ramp = torch.arange(4.0)[:, None, None]
    graph = sketch(lambda net, x: net.head(net.a(x) * net.ramp), a=conv(3, 4), ramp=ramp, head=conv(4, 2))
    assert places(graph, "a")["ramp", 0] == [0, 1, 2, 3]


def test_the_networks_input_pins():
    graph = sketch(lambda net, x: net.head(net.a(x) + x), a=conv(3, 3), head=conv(3, 2))
    assert "the channels meet the network's input, whose positions stay" in reasons(graph, "a")


def test_one_channel_for_all_is_no_coupling():
    graph = sketch(
        lambda net, x: net.head(net.a(x) * net.mask(x).sigmoid()), a=conv(3, 4), mask=conv(3, 1), head=conv(4, 2)
    )
    assert places(graph, "a") == {("a.weight", 0): [0, 1, 2, 3], ("head.weight", 1): [0, 1, 2, 3]}


def test_channels_that_are_broadcast_against_others_stay():
    def run(net, x):
        rows = net.a(x).mean((2, 3)).view(-1, 1)
        return net.head((rows + net.b(x).mean((2, 3)))[None, None])

    graph = sketch(run, a=conv(3, 4), b=conv(3, 5), head=conv(1, 2))
    assert {group.name: group.prunable for group in graph.groups if group.name in "ab"} == {"a": False, "b": False}


def test_writes_through_views_reach_the_whole():
    def run(net, x):
        x = net.a(x)
        x[:, :, :4] += net.b(x)[:, :, 4:]
        return net.head(x)

    graph = sketch(run, a=conv(3, 4), b=conv(4, 4), head=conv(4, 2))
    assert graph.group("a").producers == ("a", "b")
    assert places(graph, "a")["b.weight", 0] == [0, 1, 2, 3]


def test_a_tensor_that_is_filled_in_parts_has_their_channels():
    def run(net, x):
        a, b = net.a(x), net.b(x)
        both = x.new_zeros(1, a.size(1) + b.size(1), 8, 8)
        both[:, : a.size(1)] = a
        both[:, a.size(1) :] = b
        return net.head(both)

    graph = sketch(run, a=conv(3, 4), b=conv(3, 3), head=conv(7, 2))
    assert places(graph, "a") == {("a.weight", 0): [0, 1, 2, 3], ("head.weight", 1): [0, 1, 2, 3]}
    assert places(graph, "b") == {("b.weight", 0): [0, 1, 2], ("head.weight", 1): [4, 5, 6]}


def test_prelu_has_one_slope_per_channel_or_one_for_all():
    graph = sketch(lambda net, x: net.head(net.act(net.a(x))), a=conv(3, 4), act=nn.PReLU(4), head=conv(4, 2))
    assert places(graph, "a")["act.weight", 0] == [0, 1, 2, 3]
    graph = sketch(lambda net, x: net.head(net.act(net.a(x))), a=conv(3, 4), act=nn.PReLU(), head=conv(4, 2))
    assert ("act.weight", 0) not in places(graph, "a")
    assert widths(graph) == {"a": 4}


def test_a_number_that_follows_the_width_pins():
    """Scaling by the width would be another function after a removal."""
    graph = sketch(lambda net, x: net.head((x := net.a(x)) * x.size(1) ** -0.5), X, a=conv(3, 4), head=conv(4, 2))
    assert "a number of channels is fixed in the code here (aten.mul.Tensor" in reasons(graph, "a")


def test_an_activation_in_place_through_a_permuted_view_changes_no_channel():
    """Normalization over the last dimension, back to channels first, then ``silu_``."""

    def run(net, x):
        return net.head(F.silu(net.norm(net.a(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2), inplace=True))

    assert widths(sketch(run, a=conv(3, 4), norm=nn.LayerNorm(4), head=conv(4, 2))) == {"a": 4}
