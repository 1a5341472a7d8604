"""Masking: the original with zeros where a layer would read removed channels."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convslim import make_plan, rebuild, remove, trace
from convslim.channels.probe import kept_labels
from convslim.conformance.case import Micro
from convslim.errors import VerificationError
from convslim.surgery.locate import first_difference
from convslim.surgery.masking import run_masked, run_watched

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
KEPT = {"a": [0, 3], "b": [1, 2, 4]}


def run(net, x):
    x = F.silu(net.a(x))
    return net.head(F.silu(net.b(x)) + net.skip(x))


def network():
    return Micro(run, a=nn.Conv2d(3, 4, 3), b=nn.Conv2d(4, 5, 1), skip=nn.Conv2d(4, 5, 1), head=nn.Conv2d(5, 2, 1))


def by_hand(net, x, kept):
    """The same arithmetic, written out."""
    a = F.silu(net.a(x)) * torch.tensor([channel in kept["a"] for channel in range(4)])[:, None, None]
    b = (F.silu(net.b(a)) + net.skip(a)) * torch.tensor([channel in kept["b"] for channel in range(5)])[:, None, None]
    return net.head(b)


def prepared(net, kept):
    graph = trace(net, X)
    return graph.evidence, kept_labels(graph, graph.evidence.labeler, make_plan(graph, kept).kept)


@torch.no_grad()
def test_masked_is_zeros_where_layers_read():
    net = network()
    assert torch.allclose(run_masked(net, X, *prepared(net, KEPT)), by_hand(net, X, KEPT), atol=1e-6)
    assert not torch.allclose(net(X), by_hand(net, X, KEPT), atol=1e-3)


@torch.no_grad()
def test_nothing_removed_is_the_model_itself():
    net = network()
    assert torch.equal(run_masked(net, X, *prepared(net, {})), net(X))


def test_the_model_keeps_its_weights_and_mode():
    net = network().train()
    before = [tensor.clone() for tensor in net.state_dict().values()]
    run_masked(net, X, *prepared(net, KEPT))
    assert net.training
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), before, strict=True))


def test_every_operation_is_shown_in_order():
    net = network()
    evidence, stays = prepared(net, KEPT)
    seen, masked = [], []
    run_watched(net, X, lambda index, outs: seen.append((index, [tuple(out.shape) for out in outs])))
    run_masked(net, X, evidence, stays, lambda index, outs: masked.append((index, [tuple(out.shape) for out in outs])))
    assert seen == [(call.index, [out.shape for out in call.outs]) for call in evidence.tape.calls]
    assert masked == seen


def test_a_model_that_changes_from_run_to_run_is_named():
    def moody(net, x):
        net.runs += 1
        x = net.a(x)
        return net.head(x.relu() if net.runs < 4 else x.sigmoid())

    net = Micro(moody, a=nn.Conv2d(3, 4, 1), head=nn.Conv2d(4, 2, 1))
    net.runs = 0
    graph = trace(net, X)
    plan = make_plan(graph, {"a": [0, 2]})
    net.runs = 10
    with pytest.raises(VerificationError, match=r"aten\.relu\.default .*runs aten\.sigmoid\.default"):
        remove(net, plan, X, graph=graph)
    stays = kept_labels(graph, graph.evidence.labeler, plan.kept)
    message = (
        r"runs other operations than at its trace: aten\.sigmoid\.default instead of aten\.relu\.default at operation 1"
    )
    with pytest.raises(VerificationError, match=message):
        run_masked(net, X, graph.evidence, stays)


def test_a_model_that_goes_on_longer_is_named():
    net = network()
    evidence, stays = prepared(net, KEPT)
    net.run = lambda own, x: run(own, x).relu()
    with pytest.raises(VerificationError, match=r"aten\.relu\.default instead of its end at operation 7"):
        run_masked(net, X, evidence, stays)


def test_no_difference_is_no_place():
    net = network()
    graph = trace(net, X)
    plan = make_plan(graph, KEPT)
    evidence, stays = graph.evidence, kept_labels(graph, graph.evidence.labeler, plan.kept)
    small = rebuild(net, plan)

    def place(tolerance):
        return first_difference(
            lambda see: run_watched(small, X, see),
            lambda see: run_masked(net, X, evidence, stays, see),
            evidence,
            stays,
            len(evidence.tape.calls),
            tolerance,
        )

    assert place(1e-4) == ""
    with torch.no_grad():
        small.skip.bias[1] += 1
    assert ", first at operation 4, aten.convolution.default in skip (test_masking.py:" in place(1e-4)
    assert place(1e4) == ""
