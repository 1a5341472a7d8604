"""The walk: values of tensors, pins, and the memory that views share."""

import numpy as np
import pytest
import torch
from torch import nn

from convslim.channels.labeler import Labeler
from convslim.channels.recorder import record
from convslim.channels.rules import RULES, by_tag
from convslim.channels.values import Value, vector
from convslim.conformance.case import Micro

from .sketch import X, conv, places, reasons, sketch, widths


def walked(run, /, **parts):
    tape = record(Micro(run, **parts).eval(), X)
    labeler = Labeler(RULES)
    labeler.walk(tape, by_tag)
    return tape, labeler


def calls(tape, name):
    return [call for call in tape.calls if call.name == name]


def test_model_tensors_get_labels_along_every_dimension_but_those_of_size_one():
    _, labeler = walked(lambda net, x: net.a(x), a=nn.Conv2d(3, 4, (1, 3)))
    assert {dim: len(labels) for dim, labels in labeler.seeds["a.weight"].items()} == {0: 4, 1: 3, 3: 3}
    every = np.concatenate([labels for by_dim in labeler.seeds.values() for labels in by_dim.values()])
    assert len(set(every.tolist())) == len(every)
    assert 0 not in every


def test_tensors_that_are_never_used_get_none():
    _, labeler = walked(lambda net, x: net.a(x), a=conv(3, 4), b=conv(3, 4))
    assert labeler.seeds.keys() == {"a.weight"}


def test_what_is_computed_from_parameters_is_static():
    def run(net, x):
        return torch.conv2d(x * 2, net.a.weight * 2 + 1)

    tape, labeler = walked(run, a=conv(3, 4))
    (doubled, _), (weighted,) = calls(tape, "mul"), calls(tape, "add")
    assert not labeler.value(doubled.outs[0]).static
    assert labeler.value(weighted.outs[0]).static
    assert labeler.value(weighted.outs[0]).param == "a.weight"
    assert labeler.layers[0].param == "a.weight"


def test_input_and_constants_have_no_channels():
    tape, labeler = walked(lambda net, x: net.a(x) + 1, a=conv(3, 4))
    value = labeler.value(tape.model_inputs[0])
    assert (value.axes, value.static, value.origin) == ({}, False, "the network's input")
    assert vector(value.axes, 1, 3).tolist() == [0, 0, 0]


def test_outputs_are_pinned_without_a_place():
    _, labeler = walked(lambda net, x: {"y": [net.a(x)]}, a=conv(3, 4))
    (labels,) = [labels for labels, pin in labeler.pins if str(pin) == "the channels are an output of the network"]
    assert (labels == labeler.seeds["a.weight"][0]).all()


def test_every_output_of_every_call_is_kept_for_comparison():
    tape, labeler = walked(lambda net, x: net.a(x).chunk(2, 1), a=conv(3, 4))
    assert [len(flow) for flow in labeler.flows] == [len(call.outs) for call in tape.calls]
    assert all(isinstance(value, Value) for flow in labeler.flows for value in flow)


def test_reads_say_where_channels_are_mixed():
    def run(net, x):
        return net.fc(net.b(net.a(x)).mean((2, 3)))

    tape, labeler = walked(run, a=conv(3, 4), b=conv(4, 5), fc=nn.Linear(5, 2))
    (first, second), (linear,) = calls(tape, "convolution"), calls(tape, "addmm")
    found = {index: [(position, dim) for position, dim, _ in reads] for index, reads in labeler.reads.items()}
    assert found == {first.index: [(0, 1)], second.index: [(0, 1)], linear.index: [(1, 1)]}
    assert (labeler.reads[second.index][0][2] == labeler.seeds["a.weight"][0]).all()
    assert not labeler.reads[first.index][0][2].any()


def test_a_channel_that_meets_none_is_pinned_and_others_are_not():
    def run(net, x):
        return net.head(net.a(x) + torch.cat([net.b(x), x[:, :1]], 1))

    graph = sketch(run, a=conv(3, 4), b=conv(3, 3), head=conv(4, 2))
    assert widths(graph) == {"a": 3}
    assert places(graph, "a")["b.weight", 0] == [0, 1, 2]
    (pinned,) = [group for group in graph.groups if group.producers == ("a",)]
    assert places(graph, pinned.name)["a.weight", 0] == [3]
    assert "meet the network's input, whose positions stay (aten.add.Tensor" in reasons(graph, "a")


@pytest.mark.parametrize(
    "write",
    [
        lambda x, y: x[:].copy_(y),
        lambda x, y: x[:, :, 2:4].add_(y[:, :, 2:4]),
        lambda x, y: x[:, :, 2:4].copy_(y[:, :, 2:4]),
        lambda x, y: x.view_as(x).mul_(y),
        lambda x, y: x[:, :, :, 1:][:, :, 2:].add_(y[:, :, 2:, 1:]),
        lambda x, y: x.permute(1, 0, 2, 3)[:, :, 1:].copy_(y.transpose(0, 1)[:, :, 1:]),
    ],
)
def test_writes_through_views_unite(write):
    def run(net, x):
        x, y = net.a(x), net.b(x)
        write(x, y)
        return net.head(x)

    graph = sketch(run, a=conv(3, 4), b=conv(3, 4), head=conv(4, 2))
    assert widths(graph) == {"a": 4}
    assert graph.group("a").producers == ("a", "b")


@pytest.mark.parametrize(
    "write",
    [
        lambda x, y: x.transpose(1, 2).copy_(y.transpose(1, 2)),
        lambda x, y: x.flatten(2).copy_(y.flatten(2)),
    ],
)
def test_writes_through_views_that_cannot_be_followed_pin(write):
    def run(net, x):
        x, y = net.a(x), net.b(x)
        write(x, y)
        return net.head(x)

    graph = sketch(run, a=conv(3, 4), b=conv(3, 4), head=conv(4, 2))
    assert widths(graph) == {}
    assert "the tensor is written in place through a view" in reasons(graph, "a")


def test_choices_beyond_the_options_pin():
    net = Micro(lambda net, x: net.head(net.a(x).chunk(2, 1)[0]), a=conv(3, 8), head=conv(4, 2)).eval()
    tape = record(net, X)
    (index,) = [call.index for call in tape.calls if call.name == "split"]
    first, second = Labeler(RULES), Labeler(RULES, {index: 1})
    for labeler in (first, second):
        labeler.walk(tape, by_tag)
    assert first.options[index] == 1
    assert "a split has fixed sizes" not in [pin.reason for _, pin in first.pins]
    assert "a split has fixed sizes" in [pin.reason for _, pin in second.pins]


def test_a_blamed_call_without_options_pins_what_reaches_it():
    net = Micro(lambda net, x: net.head(net.a(x) * 2), a=conv(3, 8), head=conv(8, 2)).eval()
    tape = record(net, X)
    (index,) = [call.index for call in tape.calls if call.name == "mul"]
    labeler = Labeler(RULES, {index: 1})
    labeler.walk(tape, by_tag)
    (labels,) = [labels for labels, pin in labeler.pins if "fixed in the code here" in pin.reason]
    assert (labels == labeler.seeds["a.weight"][0]).all()


def test_walks_of_one_model_share_their_labels():
    net = Micro(lambda net, x: net.head(net.a(x)), a=conv(3, 8), head=conv(8, 2)).eval()
    tape = record(net, X)
    first = Labeler(RULES)
    first.walk(tape, by_tag)
    count = first.store.count
    second = Labeler(RULES, sharing=first)
    second.walk(tape, by_tag)
    assert second.store is first.store
    assert second.seeds is first.seeds
    assert first.store.count == count
