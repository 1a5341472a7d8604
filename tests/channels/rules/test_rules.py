"""The table of rules: what is in no family is pinned and named, and users may add rules."""

import pytest
import torch
from tests.channels.sketch import X, conv, places, reasons, sketch, widths
from torch import nn

from convslim import make_plan, remove, trace
from convslim.channels.rules import RULES
from convslim.channels.rules.elementwise import pointwise
from convslim.conformance.case import Micro
from convslim.errors import VerificationError

LIBRARY = torch.library.Library("convslim_rules", "DEF")
LIBRARY.define("swap_pairs(Tensor x) -> Tensor")
LIBRARY.define("scale(Tensor x) -> Tensor")


@torch.library.impl(LIBRARY, "swap_pairs", "CPU")
def _swap_pairs(x):
    return x.view(x.size(0), -1, 2, *x.shape[2:]).flip(2).reshape(x.shape)


@torch.library.impl(LIBRARY, "scale", "CPU")
def _scale(x):
    return x * 2


OPS = torch.ops.convslim_rules


class Inner(nn.Module):
    def __init__(self, operation):
        super().__init__()
        self.operation = operation

    def forward(self, x):
        return self.operation(x)


def network(operation):
    parts = {"a": conv(3, 4), "inner": Inner(operation), "b": conv(4, 5), "head": conv(5, 2)}
    return Micro(lambda net, x: net.head(net.b(net.inner(net.a(x)))), **parts).eval()


LINE = Inner.forward.__code__.co_firstlineno + 1


@pytest.mark.parametrize(
    ("operation", "title"),
    [
        (OPS.swap_pairs, "convslim_rules.swap_pairs.default"),
        (lambda x: torch.fft.rfft2(x, s=(8, 14)).real, "aten._fft_r2c.default"),
        (lambda x: torch.linalg.qr(x)[0], "aten.linalg_qr.default"),
        (lambda x: x.kthvalue(2, 2, keepdim=True)[0], "aten.kthvalue.default"),
    ],
)
def test_unknown_operations_pin_what_reaches_them_and_nothing_else(operation, title):
    graph = trace(network(operation), X)
    (pin,) = graph.group("a").pins
    assert (pin.reason, pin.operation, pin.module) == (f"{title} is an unknown operation", title, "inner")
    assert pin.source.startswith("test_rules.py:")
    assert widths(graph) == {"b": 5}


def test_the_source_is_the_line_of_the_call():
    (pin,) = trace(network(OPS.scale), X).group("a").pins
    assert pin.source == f"test_rules.py:{LINE}"
    assert str(pin) == (
        "convslim_rules.scale.default is an unknown operation "
        f"(convslim_rules.scale.default, in inner, test_rules.py:{LINE})"
    )


def test_pinned_channels_can_still_be_read_by_smaller_layers():
    net = network(OPS.scale)
    graph = trace(net, X)
    small = remove(net, make_plan(graph, {"b": [0, 3]}), X)
    assert small.b.weight.shape == (2, 4, 1, 1)


def test_a_users_rule_frees_the_channels():
    net = network(OPS.scale)
    graph = trace(net, X, rules={"convslim_rules::scale": pointwise})
    assert widths(graph) == {"a": 4, "b": 5}
    small = remove(net, make_plan(graph, {"a": [1, 2]}), X, graph=graph)
    assert small.a.weight.shape == (2, 3, 1, 1)


def test_a_users_rule_says_what_is_coupled():
    def swap_pairs(call, labeler):
        (x,) = call.inputs
        labels = labeler.axes(x)[1].reshape(-1, 2)
        labeler.unite(labels[:, 0], labels[:, 1], call)
        labeler.put(call.outs[0], {1: labels[:, ::-1].reshape(-1)})

    graph = trace(network(OPS.swap_pairs), X, rules={"convslim_rules::swap_pairs": swap_pairs})
    assert places(graph, "a") == {("a.weight", 0): [[0, 1], [2, 3]], ("b.weight", 1): [[0, 1], [2, 3]]}


def test_a_users_rule_that_lies_is_found_out():
    """The operation swaps pairs; a rule that says otherwise must not lead to a wrong model."""
    net = network(OPS.swap_pairs)
    graph = trace(net, X, rules={"convslim_rules::swap_pairs": pointwise})
    with pytest.raises(VerificationError, match=r"first at operation 1, convslim_rules\.swap_pairs\.default in inner"):
        remove(net, make_plan(graph, {"a": [0, 3]}), X, graph=graph)


def test_a_users_rule_goes_before_the_built_in_one():
    def never(call, labeler):
        labeler.pin_inputs(call, "not in my house")

    graph = sketch(lambda net, x: net.head(net.a(x).relu()), a=conv(3, 4), head=conv(4, 2))
    assert widths(graph) == {"a": 4}
    net = Micro(lambda net, x: net.head(net.a(x).relu()), a=conv(3, 4), head=conv(4, 2)).eval()
    graph = trace(net, X, rules={"relu": never})
    assert "not in my house (aten.relu.default" in reasons(graph, "a")
    assert RULES["convolution"] is not never


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        RULES["relu"] = pointwise
