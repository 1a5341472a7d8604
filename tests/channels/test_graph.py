"""The graph: looked up by name, explained in words, and frozen."""

import dataclasses
import pickle

import pytest
import torch
from torch import nn

from convslim import Pin, trace
from convslim.conformance.case import Micro, conv_norm
from convslim.errors import PlanError

from .sketch import X, conv


def run(net, x):
    x = net.stem(x).relu()
    x = x + net.b(net.a(x).relu())
    return net.fc(net.attention(x)[..., :2, :2].flatten(1))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = conv(8, 8)

    def forward(self, x):
        return self.gate(x).cumsum(1)


CUMSUM = f"test_graph.py:{Attention.forward.__code__.co_firstlineno + 1}"


@pytest.fixture(scope="module")
def graph():
    parts = {"stem": conv_norm(3, 8), "a": conv(8, 12), "b": conv(12, 8)}
    with torch.random.fork_rng():
        return trace(Micro(run, **parts, attention=Attention(), fc=nn.Linear(32, 2)).eval(), X)


def test_groups_are_found_by_name(graph):
    assert graph.group("a").producers == ("a",)
    assert graph.group("stem.conv") is graph.groups[0]
    assert graph.prunable == tuple(group for group in graph.groups if not group.pins)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stem.cov", r"^The model has no channel group 'stem\.cov'\. Did you mean 'stem\.conv'\?$"),
        ("atention.gate", r"Did you mean 'attention\.gate'\?$"),
        ("zzzzzz", r"^The model has no channel group 'zzzzzz'\.$"),
        ("", r"^The model has no channel group ''\.$"),
    ],
)
def test_unknown_groups_propose_the_nearest(name, message, graph):
    with pytest.raises(PlanError, match=message):
        graph.group(name)


def test_a_prunable_group_is_explained(graph):
    assert graph.explain("a") == (
        "group a: 12 channels, prunable\n"
        "  made by: a\n"
        "  read by: b\n"
        "  out   axis: a.weight[dim 0], 12 positions\n"
        "  in    axis: b.weight[dim 1], 12 positions"
    )


def test_a_pinned_group_says_which_operation_where(graph):
    text = graph.explain("attention.gate")
    assert text.startswith("group attention.gate: 8 channels, pinned\n  pinned: cumsum runs over the channels")
    assert f"(aten.cumsum.default, in attention, {CUMSUM})" in text
    assert "out   axis: attention.gate.weight[dim 0], 8 positions" in text


def test_a_module_is_explained_by_all_its_groups(graph):
    text = graph.explain("b")
    first, second = text.split("\n\n")
    assert first.startswith(
        "group stem.conv: 8 channels, prunable\n  made by: stem.conv, b\n  read by: a, attention.gate"
    )
    assert second.startswith("group a: 12 channels")
    assert graph.explain("stem.norm") == first
    assert graph.explain("stem.conv") == first


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stem.nrm", r"No channel group has to do with 'stem\.nrm'\. Did you mean 'stem\.norm'\?"),
        ("act", r"with 'act'\."),
    ],
)
def test_explaining_what_is_not_there_proposes_the_nearest(name, message, graph):
    with pytest.raises(PlanError, match=message):
        graph.explain(name)


def test_constraints_are_part_of_the_explanation():
    net = Micro(lambda net, x: net.head(net.d(net.a(x))), a=conv(3, 3), d=conv(3, 6, groups=3), head=conv(6, 2))
    text = trace(net.eval(), X).explain("a")
    assert "\n  constraint: each channel is read by 2 depthwise filters (d, test_graph.py:" in text
    assert "axis: d.weight[dim 0], 3 x 2 positions" in text


def test_pins_name_what_they_know():
    assert str(Pin("it is so")) == "it is so"
    assert str(Pin("it is so", module="a.b")) == "it is so (in a.b)"
    assert str(Pin("it is so", "aten.foo", "a", "f.py:3")) == "it is so (aten.foo, in a, f.py:3)"


def test_graphs_are_frozen(graph):
    with pytest.raises(dataclasses.FrozenInstanceError):
        graph.structure = "other"
    with pytest.raises(dataclasses.FrozenInstanceError):
        graph.groups[0].name = "other"
    with pytest.raises(TypeError):
        graph.groups[0].axes[0] = None


def test_a_graph_holds_no_tensor(graph):
    reached = pickle.dumps(dataclasses.replace(graph, evidence=None))
    assert b"torch" not in reached


def test_printing_a_graph_does_not_print_its_evidence(graph):
    assert "Tape" not in repr(graph)
