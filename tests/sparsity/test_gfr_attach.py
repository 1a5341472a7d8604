"""Relation modules in networks: found by channels, harmless at first, sliced like layers, gone without a trace."""

from __future__ import annotations

import copy
import pickle
from importlib.util import find_spec
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convslim
from convslim import models
from convslim.channels.trace import trace
from convslim.errors import ArtifactError, ModelError
from convslim.sparsity import (
    Place,
    Relations,
    attach_relations_,
    detach_relations_,
    fold_relations_,
    insert_relations_,
    relations_in,
    relationship_factors,
)
from convslim.sparsity.gfr_attach import relation_at

X = torch.randn(2, 1, 8, 8)


def network() -> nn.Module:
    model = models.create("digits_cnn").eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return model


def attached(model: nn.Module, **options: Any) -> Relations:
    return attach_relations_(model, trace(model, X), **options)[0]


def spread_(model: nn.Module, relations: Relations) -> None:
    """Factors that differ between channels and images."""
    for place in relations.places:
        nn.init.normal_(relation_at(model, place).excite.weight)
        nn.init.normal_(relation_at(model, place).excite.bias)


def facts(model: nn.Module) -> Any:
    """Everything that must be as before."""
    hooks = {name: (len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in model.named_modules()}
    kinds = {name: type(module) for name, module in model.named_modules()}
    return hooks, kinds, list(model.state_dict()), [name for name, _ in model.named_parameters()]


def test_new_modules_change_nothing_to_the_bit():
    model = network()
    before = model(X)
    relations = attached(model)
    assert len(relations.places) == 10
    assert torch.equal(model(X), before)
    assert type(model) is type(network())


def test_untrained_modules_leave_without_a_trace():
    model = network()
    before, weights = facts(model), copy.deepcopy(model.state_dict())
    relations = attached(model)
    assert facts(model) != before
    assert relations_in(model) == relations
    detach_relations_(model)
    assert facts(model) == before
    assert relations_in(model) is None
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_folded_network_is_the_one_with_constant_factors():
    model = network()
    before = facts(model)
    relations = attached(model)
    for place in relations.places:
        nn.init.normal_(relation_at(model, place).excite.bias, std=2.0)
    with_modules = model(X)
    fold_relations_(model, relationship_factors(model, [X]))
    torch.testing.assert_close(model(X), with_modules)
    assert facts(model) == before


def test_copies_work_by_themselves_and_are_apart():
    model = network()
    relations = attached(model)
    spread_(model, relations)
    twin = copy.deepcopy(model)
    again = pickle.loads(pickle.dumps(model))
    expected = model(X)
    assert torch.equal(twin(X), expected)
    assert torch.equal(again(X), expected)
    fold_relations_(model, relationship_factors(model, [X]))
    assert torch.equal(twin(X), expected)


def test_hooks_of_the_user_stay():
    model, seen = network(), []
    model.get_submodule("head_bn").register_forward_hook(lambda module, inputs, output: seen.append(1))
    attached(model)
    detach_relations_(model)
    seen.clear()
    model(X)
    assert seen == [1]


def test_a_record_puts_modules_into_a_fresh_network():
    model = network()
    relations = attached(model, reduction=4)
    spread_(model, relations)
    fresh = insert_relations_(models.create("digits_cnn").eval(), Relations.from_data(relations.to_data()))
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(X), model(X))


def test_the_seed_decides_and_the_random_state_stays():
    state = torch.get_rng_state()
    first, second, third = (network().requires_grad_(False) for _ in range(3))
    for model, seed in ((first, 0), (second, 0), (third, 1)):
        torch.set_rng_state(state)
        attached(model, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
    weights = [model.get_parameter("head_bn.gfr.squeeze.weight") for model in (first, second, third)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_modules_are_sliced_with_their_channels_and_keep_their_inside():
    model = network()
    relations = attached(model)
    spread_(model, relations)
    graph = trace(model, X)
    inside = {group.name for group in graph.prunable} - {group.name for group in trace(network(), X).prunable}
    assert inside == {f"{place.norm}.gfr.squeeze" for place in relations.places}
    small = convslim.remove(model, convslim.make_plan(graph, {"head": range(24)}), X, graph=graph)
    relation = small.get_submodule("head_bn.gfr")
    assert relation.squeeze.weight.shape == (6, 24)
    assert relation.excite.weight.shape == (24, 6)


def test_where_no_channel_can_go_there_is_no_module():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2), nn.Flatten())
    assert [place.norm for place in attached(model).places] == ["1"]


class NormAct(nn.BatchNorm2d):
    """A BatchNorm with its activation inside, as timm has them."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(super().forward(x))


class NormFunction(nn.BatchNorm2d):
    """The activation as a function."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(super().forward(x))


def test_an_activation_inside_of_the_norm_comes_after_the_module():
    model = nn.Sequential(nn.Conv2d(1, 8, 3), NormAct(8), nn.Conv2d(8, 4, 3)).eval()
    before = model(X)
    relations = attached(model)
    assert relations.places == (Place("1", "1.act", before=True),)
    assert torch.equal(model(X), before)
    nn.init.normal_(relation_at(model, relations.places[0]).excite.bias)
    with_modules = model(X)
    fold_relations_(model, relationship_factors(model, [X]))
    torch.testing.assert_close(model(X), with_modules)


def test_an_activation_in_the_norms_own_code_is_left_and_named():
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), NormFunction(8), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)
    ).eval()
    relations, left = attach_relations_(model, trace(model, X))
    assert [place.norm for place in relations.places] == ["3"]
    assert "NormFunction" in left["1"]


def test_shared_parameters_are_left_alone():
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
    model.append(nn.Conv2d(8, 4, 1))
    model[4].weight = model[1].weight
    with pytest.raises(ModelError, match=r"no place.*BatchNorms"):
        attached(model.eval())


@pytest.mark.parametrize("kind", ["twice", "missing"])
def test_modules_that_do_not_fit_are_refused(kind: str):
    model = network()
    relations = attached(model)
    fresh = nn.Sequential() if kind == "missing" else model
    with pytest.raises(ModelError, match="already" if kind == "twice" else "no layer 'stem_bn'"):
        insert_relations_(fresh, relations)


def test_a_network_without_batch_normalization_is_refused():
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))
    with pytest.raises(ModelError, match="no place for a relation module"):
        attached(model)


@pytest.mark.parametrize("data", [None, {}, {"places": [{}], "reduction": 16}, {"places": 3}])
def test_strange_records_are_refused(data: object):
    with pytest.raises(ArtifactError, match="where relation modules stand"):
        Relations.from_data(data)


def test_a_timm_network_with_activations_inside_of_its_norms():
    if find_spec("timm") is None:
        pytest.skip("timm is not installed")
    model = models.create("timm:mobilenetv2_050", num_classes=4).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = model(x)
        relations, left = attach_relations_(model, trace(model, x, ways=("class",)))
        assert any(place.before for place in relations.places)
        assert not left
        assert relations_in(model) == relations
        torch.testing.assert_close(model(x), before, rtol=0, atol=0)
