"""Numbers in code: which way is taken, and that every number of the graph follows."""

import numpy as np
import pytest
import torch
from tests.channels.numbers_in_code import NETWORKS, split
from tests.channels.sketch import X, conv, widths
from torch import nn

import convslim
from convslim.channels import ways
from convslim.conformance.case import Micro
from convslim.errors import ExportError, ModelError
from convslim.surgery import carry_out


def half(graph: convslim.ChannelGraph, seed: int = 0) -> convslim.PruningPlan:
    rng = np.random.default_rng(seed)
    return convslim.make_plan(
        graph,
        {
            group.name: np.sort(rng.permutation(group.num_channels)[: max(group.num_channels // 2, 1)])
            for group in graph.prunable
        },
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_numbers_follow(name):
    torch.manual_seed(0)
    build, expected = NETWORKS[name]
    model = build().eval()
    graph = convslim.trace(model, X, ways=("graph",))
    assert widths(graph) == expected
    for seed in range(2):
        removal = carry_out(model, half(graph, seed), X, graph=graph)
        assert removal.certificate.relative_error < 1e-5
        assert removal.certificate.num_operations > 0
        two = torch.cat([X, X])
        assert removal.model(two).shape[0] == 2, "the batch size is free"


def test_a_cut_graph_is_the_class_whose_readers_see_zeros():
    torch.manual_seed(0)
    model = split().eval()
    plan = convslim.make_plan(convslim.trace(model, X), {"a": [0, 3], "a#2": [1, 2, 7]})
    small = convslim.remove(model, plan, X)
    with torch.no_grad():
        model.b.weight[:, [1, 2]] = 0
        model.c.weight[:, [0, 3, 4, 5, 6]] = 0
        assert torch.allclose(small(X), model(X), atol=1e-6)
    assert plan.attributes == {"split_with_sizes:split_sizes.0": 2, "split_with_sizes:split_sizes.1": 3}


def test_the_way_and_its_reason_are_told():
    model = split().eval()
    graph = convslim.trace(model, X)
    assert (graph.way, graph.program is None) == ("graph", False)
    assert "numbers in the code hold 12 channels back, first in the model (numbers_in_code.py:" in graph.way_reason
    assert "of the MACs as a graph" in graph.way_reason
    alone = convslim.trace(model, X, ways=("class",))
    assert (alone.way, alone.program) == ("class", None)
    assert "the graph was not among the ways" in alone.way_reason
    assert alone.structure != graph.structure
    forced = convslim.trace(model, X, ways=("graph",))
    assert (forced.way, forced.structure) == ("graph", graph.structure)


def test_the_class_stays_where_nothing_is_held_back(monkeypatch):
    monkeypatch.setattr(ways, "export_program", None)  # not even tried
    graph = convslim.trace(nn.Sequential(conv(3, 8), conv(8, 4)), X)
    assert (graph.way, graph.way_reason) == ("class", "no number in the model's code holds channels back")


def test_the_class_stays_where_a_graph_frees_little():
    def run(n, x):
        left, right = torch.split(n.tiny(x[:, :, :1, :1]), [1, 3], 1)
        return n.out(n.a(x)) + n.last(torch.cat([right, left], 1))

    net = Micro(run, a=conv(3, 64, 3), out=conv(64, 4), tiny=conv(3, 4), last=conv(4, 4)).eval()
    graph = convslim.trace(net, X)
    assert graph.way == "class"
    assert "a graph frees little more" in graph.way_reason


def test_the_class_stays_where_no_graph_can_be_made():
    def run(n, x):
        left, right = torch.split(n.a(x), [3, 5], 1)
        both = [right, left] if float(x.sum()) > -1e9 else [left, right]
        return n.out(torch.cat(both, 1))

    net = Micro(run, a=conv(3, 8), out=conv(8, 4)).eval()
    graph = convslim.trace(net, X)
    assert graph.way == "class"
    assert "the graph way failed: Micro cannot be written as a graph" in graph.way_reason
    with pytest.raises(ExportError, match="Micro cannot be written as a graph"):
        convslim.trace(net, X, ways=("graph",))


@pytest.mark.parametrize("wrong", [(), ("graphs",), "graph"])
def test_unknown_ways_are_refused(wrong):
    with pytest.raises(ModelError, match="must name one or both of 'class', 'graph'"):
        convslim.trace(nn.Sequential(conv(3, 8), conv(8, 4)), X, ways=wrong)


def test_padded_shortcuts_follow_the_wider_branch():
    model = convslim.models.create("resnet20_cifar").eval()
    x = torch.randn(1, 3, 32, 32)
    graph = convslim.trace(model, x)
    assert graph.way == "graph"
    assert [group.name for group in graph.groups if not group.prunable] == ["linear"]
    plan = half(graph)
    certificate = carry_out(model, plan, x, graph=graph).certificate
    assert certificate.relative_error < 1e-5
    assert {name: plan.attributes[name] for name in ("pad:pad.4", "pad:pad.5")}.keys() <= plan.attributes.keys()
