"""Groups: names, order, roles, multiplicity, and the hash that plans are tied to."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from convslim import trace
from convslim.conformance.case import Micro, conv_norm

from .sketch import X, as_image, conv, places, reasons, sketch, widths


def residual(net, x):
    x = net.stem(x).relu()
    x = x + net.b(net.a(x).relu())
    return net.head(x)


def parts(width=4, inner=6):
    return {
        "stem": conv_norm(3, width),
        "a": conv_norm(width, inner),
        "b": conv_norm(inner, width),
        "head": conv(width, 2),
    }


def test_groups_are_named_after_their_first_producer_in_forward_order():
    graph = sketch(residual, **parts())
    assert [group.name for group in graph.groups] == ["stem.conv", "a.conv", "head"]
    assert [group.num_channels for group in graph.groups] == [4, 6, 2]
    assert graph.group("stem.conv").producers == ("stem.conv", "b.conv")
    assert graph.group("stem.conv").consumers == ("a.conv", "head")
    assert graph.group("a.conv").producers == ("a.conv",)
    assert graph.group("a.conv").consumers == ("b.conv",)


def test_the_order_is_that_of_the_forward_pass_and_not_of_the_attributes():
    def run(net, x):
        return net.a(net.b(net.c(x)))

    graph = sketch(run, a=conv(5, 2), b=conv(4, 5), c=conv(3, 4))
    assert [group.name for group in graph.groups] == ["c", "b", "a"]


def test_roles():
    graph = sketch(residual, **parts())
    roles = {(axis.tensor, axis.dim): axis.role for axis in graph.group("stem.conv").axes}
    norms = {
        (f"{n}.norm.{leaf}", 0) for n in ("stem", "b") for leaf in ("weight", "bias", "running_mean", "running_var")
    }
    assert roles == {
        ("stem.conv.weight", 0): "out",
        ("b.conv.weight", 0): "out",
        ("a.conv.weight", 1): "in",
        ("head.weight", 1): "in",
        **dict.fromkeys(norms, "scale"),
    }


def test_every_axis_lists_each_position_once_and_within_the_tensor():
    def run(net, x):
        x = torch.cat([net.a(x), net.b(x)], 1)
        x = net.norm(torch.cat([x, x.flip(1)], 1))
        return net.fc(x[..., :2, :2].flatten(1))

    graph = sketch(run, a=conv(3, 4), b=conv(3, 3), norm=nn.BatchNorm2d(14), fc=nn.Linear(56, 2))
    taken = {}
    for group in graph.groups:
        for axis in group.axes:
            assert axis.index.dtype == np.int64
            assert axis.index.shape[0] == group.num_channels
            assert axis.index.max() < graph.tensors[axis.tensor][axis.dim]
            taken.setdefault((axis.tensor, axis.dim), []).extend(axis.index.reshape(-1).tolist())
    assert all(len(positions) == len(set(positions)) for positions in taken.values())
    assert len(taken["fc.weight", 1]) == 56
    (axis,) = [axis for axis in graph.group("a").axes if axis.tensor == "fc.weight"]
    assert axis.index.shape == (4, 8)


def test_one_producer_may_feed_several_groups():
    graph = sketch(
        lambda net, x: net.head(net.a(x) + torch.cat([net.b(x), net.c(x)], 1)),
        a=conv(3, 7), b=conv(3, 4), c=conv(3, 3), head=conv(7, 2),
    )  # fmt: skip
    assert widths(graph) == {"a": 4, "a#2": 3}
    assert places(graph, "a")["a.weight", 0] == [0, 1, 2, 3]
    assert places(graph, "a#2")["a.weight", 0] == [4, 5, 6]
    assert (graph.group("a").producers, graph.group("a#2").producers) == (("a", "b"), ("a", "c"))


def test_channels_of_one_layer_with_different_fates_are_apart():
    def run(net, x):
        x = net.a(x)
        return net.head(x), x[:, :3] * 2

    graph = sketch(run, a=conv(3, 8), head=conv(8, 2))
    assert [(places(graph, g.name)["a.weight", 0], g.prunable) for g in graph.groups if "a" in g.producers] == [
        ([0, 1, 2], False),
        ([3, 4, 5, 6, 7], True),
    ]


def test_pins_of_a_group_are_told_once_each():
    def run(net, x):
        x = net.a(x)
        return net.head(x.cumsum(1) + x.cumsum(1)), x

    graph = sketch(run, a=conv(3, 4), head=conv(4, 2))
    texts = reasons(graph, "a").split("\n")
    assert len(texts) == len(set(texts)) == 2


def test_unused_parameters_and_notes_of_the_graph():
    graph = sketch(residual, **parts(), spare=conv(3, 3), extra=nn.Parameter(torch.ones(2)))
    assert graph.unused == ("extra", "spare.weight")
    assert graph.tensors["spare.weight"] == (3, 3, 1, 1)
    assert "a.norm.running_mean" in graph.tensors
    assert "a.norm.running_mean" not in graph.parameters
    assert "a.norm.weight" in graph.parameters


# ---- the structure hash -------------------------------------------------------------------------------------------


def structure(run=residual, example=X, **changes):
    return sketch(run, example, **(parts() | changes)).structure


def test_the_hash_depends_on_the_structure_alone():
    first = structure()
    assert re.fullmatch(r"[0-9a-f]{64}", first)
    torch.manual_seed(5)
    assert structure() == first
    assert structure(example=torch.zeros(3, 3, 12, 10)) == first
    net = Micro(residual, **parts()).double().train()
    net.stem.conv.weight.requires_grad_(False)
    assert trace(net, X.double()).structure == first


def test_the_hash_is_the_same_in_every_process():
    """Written down once; it changes only with what plans depend on, and then plans are refused on purpose."""
    graph = sketch(lambda net, x: net.head(net.a(x)), a=conv(3, 4), head=conv(4, 2))
    again = sketch(lambda net, x: net.head(net.a(x)), a=conv(3, 4), head=conv(4, 2))
    assert graph.structure == again.structure
    assert graph.structure[:16] == "cd157f4e2b597536"


@pytest.mark.parametrize(
    "changes",
    [
        {**parts(inner=7)},
        {**parts(width=5)},
        {"spare": conv(3, 3)},
        {"a": nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6))},
        {"head": nn.Conv2d(4, 2, 1)},
        {"table": torch.zeros(2)},
        {"run": lambda net, x: net.head(net.stem(x).relu()[:, :4] + net.b(net.a(net.stem(x))).flip(1))},
        {"run": lambda net, x: net.head(net.b(net.a(net.stem(x))).softmax(1))},
    ],
)
def test_the_hash_follows_every_change(changes):
    assert structure(**changes) != structure()


def test_a_pin_changes_the_hash():
    one = sketch(lambda net, x: net.head(as_image(net.a(x).mean((2, 3)))), a=conv(3, 4), head=conv(4, 2))
    other = sketch(lambda net, x: net.head(as_image(net.a(x).mean((2, 3)).cumsum(1))), a=conv(3, 4), head=conv(4, 2))
    assert one.structure != other.structure
