"""Removal: a smaller model of the user's own class, or an error that says why not."""

import importlib
import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import convslim
from convslim import PruningPlan, make_plan, rebuild, remove, trace
from convslim.conformance.case import Micro, conv_norm, head
from convslim.errors import ModelError, PlanError, VerificationError
from convslim.surgery import carry_out

X = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def run(net, x):
    return net.head(F.silu(net.b(F.silu(net.a(x)))))


def network(width=8):
    return Micro(run, a=conv_norm(3, width), b=conv_norm(width, 6), head=head(6)).eval()


@pytest.fixture
def net():
    return network()


@pytest.fixture
def plan(net):
    return make_plan(trace(net, X), {"a.conv": [1, 3, 6], "b.conv": [0, 5]})


def test_the_result_is_the_original_without_the_channels(net, plan):
    small = remove(net, plan, X)
    assert type(small) is Micro
    assert torch.equal(small.a.conv.weight, net.a.conv.weight[[1, 3, 6]])
    assert torch.equal(small.a.norm.running_var, net.a.norm.running_var[[1, 3, 6]])
    assert torch.equal(small.b.conv.weight, net.b.conv.weight[[0, 5]][:, [1, 3, 6]])
    assert torch.equal(small.head.weight, net.head.weight[:, [0, 5]])
    assert torch.equal(small.head.bias, net.head.bias)
    assert (small.a.conv.out_channels, small.b.conv.in_channels, small.b.norm.num_features) == (3, 3, 2)


def test_the_original_and_its_mode_stay(net, plan):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.train()
    small = remove(net, plan, X)
    assert small.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    small.head.weight.data.zero_()
    assert net.head.weight.abs().sum() > 0
    places = [{tensor.data_ptr() for tensor in model.state_dict().values()} for model in (net, small)]
    assert places[0].isdisjoint(places[1])


def test_the_certificate_comes_along(net, plan):
    removal = carry_out(net, plan, X)
    assert removal.model(X).shape == (1, 4, 8, 8)
    assert removal.certificate.relative_error <= 1e-6
    assert removal.certificate == convslim.verify(net, removal.model, plan, X)


def test_the_graph_saves_a_trace_and_changes_nothing(net, plan, monkeypatch):
    graph = trace(net, X)
    expected = remove(net, plan, X)
    monkeypatch.setattr(importlib.import_module("convslim.surgery.verify"), "trace", None)
    small = remove(net, plan, X, graph=graph)
    assert all(
        torch.equal(a, b) for a, b in zip(small.state_dict().values(), expected.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("shape", [(4, 3, 8, 8), (1, 3, 16, 12)])
def test_a_graph_of_another_input_shape_is_no_obstacle(shape, net, plan):
    small = remove(net, plan, torch.randn(shape), graph=trace(net, X))
    assert small.a.conv.out_channels == 3


def test_a_plan_is_replayed_on_other_weights(net, plan):
    torch.manual_seed(7)
    other = network()
    small, expected = rebuild(other, PruningPlan.from_json(plan.to_json())), remove(other, plan, X)
    assert torch.equal(small(X), expected(X))
    assert not torch.equal(small(X), remove(net, plan, X)(X))


def test_plans_of_functional_layers_are_replayed():
    def functional(net, x):
        return F.conv2d(F.instance_norm(F.silu(net.a(x))), net.weight)

    net = Micro(functional, a=conv_norm(3, 8), weight=nn.Parameter(torch.randn(4, 8, 1, 1))).eval()
    plan = make_plan(trace(net, X), {"a.conv": [1, 2, 7]})
    small = remove(net, plan, X)
    assert small.weight.shape == (4, 3, 1, 1)
    assert torch.equal(rebuild(net, PruningPlan.from_json(plan.to_json()))(X), small(X))


def test_rebuild_does_not_run_the_model(plan):
    def broken(net, x):
        raise AssertionError("the model was run")

    net = network()
    net.run = broken
    assert rebuild(net, plan).b.conv.weight.shape == (2, 3, 3, 3)


def test_a_plan_for_another_model_is_refused(net, plan):
    wider = network(10)
    message = r"The plan was made for another model \(structure \w{12}, this Micro has \w{12}\)\. Make the plan from"
    with pytest.raises(PlanError, match=message):
        remove(wider, plan, X)
    narrower = Micro(run, a=conv_norm(3, 4), b=conv_norm(4, 6), head=head(6))
    with pytest.raises(PlanError, match=r"keeps position 6 of dimension 0 of 'a\.conv\.weight', whose shape is \(4, 3"):
        rebuild(narrower, plan)
    with pytest.raises(PlanError, match=r"The plan slices 'a\.conv\.weight', which Sequential does not have"):
        rebuild(nn.Sequential(), plan)


def tampered(plan, change):
    data = json.loads(plan.to_json())
    change(data)
    return PruningPlan.from_json(json.dumps(data))


def test_plans_changed_by_hand_are_refused(net, plan):
    def other_group(data):
        data["channels"]["a.cnv"], data["kept"]["a.cnv"] = data["channels"].pop("a.conv"), data["kept"].pop("a.conv")

    def other_tensor(data):
        data["slices"]["a.cnv.weight"] = data["slices"].pop("a.conv.weight")

    def other_module(data):
        data["attributes"]["c.groups"] = 2

    def other_dimension(data):
        data["slices"]["a.conv.weight"]["7"] = [0]

    for change in (other_group, other_tensor, other_module, other_dimension):
        with pytest.raises(PlanError):
            remove(net, tampered(plan, change), X)


@pytest.mark.parametrize(
    ("tensor", "place"), [("a.conv.weight", r"convolution.* in a\.conv"), ("a.norm.bias", r"batch_norm.* in a\.norm")]
)
def test_other_positions_than_the_kept_ones_are_found(tensor, place, net, plan):
    def shift(data):
        data["slices"][tensor]["0"] = [0, 3, 6]

    with torch.no_grad():
        net.a.norm.bias.copy_(torch.linspace(1, 2, 8))
    with pytest.raises(VerificationError, match=place):
        remove(net, tampered(plan, shift), X)


def test_a_model_that_cannot_be_copied_is_named(net, plan):
    graph = trace(net, X)
    net.numbers = (number for number in range(3))
    with pytest.raises(ModelError, match=r"Micro cannot be copied \(.*generator.*Remove what cannot be deep-copied"):
        remove(net, plan, X, graph=graph)


def test_a_model_that_fails_is_named(net, plan):
    with pytest.raises(ModelError, match=r"Micro fails on the example input: RuntimeError: .*channels"):
        remove(net, plan, torch.zeros(1, 5, 8, 8))
