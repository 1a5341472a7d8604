"""Sliced copies: tensors, the numbers beside them, sharing, and an original that nobody touched."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from convslim import make_plan, trace
from convslim.channels.slicing import attributes_of, sliced_copy, slices_of
from convslim.channels.tape import named_tensors
from convslim.conformance.case import Micro
from convslim.errors import ModelError

from .sketch import X, conv

EVENS = np.arange(0, 8, 2)


def layer(module, slices):
    return sliced_copy(nn.ModuleDict({"m": module}), {f"m.{name}": by_dim for name, by_dim in slices.items()}, {})["m"]


@pytest.mark.parametrize(
    ("module", "slices", "text"),
    [
        (nn.Conv2d(8, 6, 3), {"weight": {0: [1, 2], 1: EVENS}, "bias": {0: [1, 2]}}, "Conv2d(4, 2, kernel_size=(3, 3)"),
        (nn.Conv1d(8, 6, 3), {"weight": {1: EVENS}}, "Conv1d(4, 6, kernel_size=(3,)"),
        (nn.ConvTranspose2d(8, 6, 2), {"weight": {0: EVENS, 1: [5]}, "bias": {0: [5]}}, "ConvTranspose2d(4, 1, "),
        (nn.Conv2d(8, 6, 1, groups=2), {"weight": {1: [0, 3]}}, "Conv2d(4, 6, kernel_size=(1, 1), stride="),
        (nn.Linear(8, 6), {"weight": {0: [0], 1: EVENS}, "bias": {0: [0]}}, "Linear(in_features=4, out_features=1, "),
        (nn.BatchNorm2d(8), {"weight": {0: EVENS}, "bias": {0: EVENS}, "running_mean": {0: EVENS}}, "BatchNorm2d(4, "),
        (nn.BatchNorm2d(8, affine=False), {"running_mean": {0: EVENS}, "running_var": {0: EVENS}}, "BatchNorm2d(4, "),
        (nn.GroupNorm(2, 8), {"weight": {0: EVENS}, "bias": {0: EVENS}}, "GroupNorm(2, 4, "),
        (nn.LayerNorm(8), {"weight": {0: EVENS}, "bias": {0: EVENS}}, "LayerNorm((4,), "),
        (nn.PReLU(8), {"weight": {0: EVENS}}, "PReLU(num_parameters=4)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)  # fmt: skip
def test_numbers_beside_the_tensors_follow(module, slices, text):
    small = layer(module, slices)
    assert str(small).startswith(text)
    for name, by_dim in slices.items():
        expected = getattr(module, name)
        for dim, kept in by_dim.items():
            expected = expected.index_select(dim, torch.as_tensor(kept))
        assert torch.equal(getattr(small, name), expected)
        assert type(getattr(small, name)) is type(getattr(module, name))


def test_groups_of_a_depthwise_layer_are_set_by_name():
    net = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8))
    small = sliced_copy(net, {"0.weight": {0: EVENS}, "0.bias": {0: EVENS}}, {"0.groups": 4})
    assert (small[0].groups, small[0].in_channels, small[0].out_channels) == (4, 4, 4)
    assert small(torch.ones(1, 4, 8, 8)).shape == (1, 4, 6, 6)


def test_normalization_groups_are_set_by_name():
    net = nn.Sequential(nn.GroupNorm(4, 8))
    small = sliced_copy(net, {"0.weight": {0: [0, 1, 4, 5]}, "0.bias": {0: [0, 1, 4, 5]}}, {"0.num_groups": 2})
    assert str(small[0]).startswith("GroupNorm(2, 4, ")


class Own(nn.Module):
    """A layer that is not PyTorch's, with numbers of its own."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8))
        self.groups, self.out_features, self.table = 8, 8, [1, 2, {"x": 3}]


def test_numbers_of_other_modules_are_left_alone():
    small = layer(Own(), {"weight": {0: EVENS}})
    assert (small.groups, small.out_features, small.table) == (8, 8, [1, 2, {"x": 3}])
    assert small.weight.shape == (4, 8)


def test_the_original_is_untouched_and_nothing_is_shared():
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), Own())
    before = {name: tensor.clone() for name, tensor in named_tensors(net).items()}
    small = sliced_copy(net, {"0.weight": {0: EVENS}}, {})
    with torch.no_grad():
        for tensor in named_tensors(small).values():
            tensor.zero_()
    small[2].table[2]["x"] = 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in named_tensors(net).items())
    assert net[0].out_channels == 8
    assert net[2].table == [1, 2, {"x": 3}]


def test_a_trial_may_share_what_it_does_not_slice():
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1))
    small = sliced_copy(net, {"0.weight": {0: EVENS}}, {}, share=True)
    assert small[1].weight is net[1].weight
    assert small[0].weight is not net[0].weight
    assert small[1] is not net[1]


def test_shared_parameters_and_modules_stay_shared():
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    second.weight = first.weight
    net = nn.ModuleDict({"one": first, "two": second, "again": first, "list": nn.ModuleList([second])})
    small = sliced_copy(net, {"one.weight": {0: EVENS}, "one.bias": {0: EVENS}}, {})
    assert small["one"].weight is small["two"].weight
    assert small["again"] is small["one"]
    assert small["list"][0] is small["two"]
    assert (small["one"].out_features, small["two"].out_features) == (4, 4)


def test_parameters_keep_their_kind():
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8))
    net[0].weight.requires_grad_(False)
    net[0].weight.grad = None
    net(X).sum().backward()
    small = sliced_copy(net, {"0.weight": {0: EVENS}, "0.bias": {0: EVENS}, "1.running_mean": {0: EVENS}}, {})
    assert [small[0].weight.requires_grad, small[0].bias.requires_grad] == [False, True]
    assert isinstance(small[0].bias, nn.Parameter)
    assert small[0].bias.is_leaf
    assert small[0].bias.grad is None
    assert not isinstance(small[1].running_mean, nn.Parameter)
    assert "1.running_mean" in small.state_dict()


def test_parametrized_layers_get_their_numbers_too():
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 1)), nn.Conv2d(8, 2, 1))
    graph = trace(net, X)
    plan = make_plan(graph, {graph.prunable[0].name: [1, 2, 5]})
    small = sliced_copy(net, plan.slices, plan.attributes)
    assert (small[0].out_channels, small[1].in_channels) == (3, 3)
    assert torch.allclose(small[0].weight, net[0].weight[[1, 2, 5]])


def test_slices_follow_the_axes_of_every_group_that_shrinks():
    net = Micro(
        lambda net, x: net.fc(torch.cat([net.a(x), net.b(x)], 1)[..., :2, :2].flatten(1)),
        a=conv(3, 3), b=conv(3, 2), fc=nn.Linear(20, 2),
    )  # fmt: skip
    graph = trace(net, X)
    slices = slices_of(graph, {"a": [0, 2], "b": [0, 1]})
    assert {name: {dim: kept.tolist() for dim, kept in by_dim.items()} for name, by_dim in slices.items()} == {
        "a.weight": {0: [0, 2]},
        "fc.weight": {1: [0, 1, 2, 3, *range(8, 20)]},
    }
    both = slices_of(graph, {"a": [2], "b": [1]})
    assert both["fc.weight"][1].tolist() == [*range(8, 12), *range(16, 20)]
    assert slices_of(graph, {}) == {}


def test_attributes_count_the_kept_channels_of_every_group():
    net = Micro(
        lambda net, x: net.head(net.d(torch.cat([net.a(x), x, net.b(x)], 1))),
        a=conv(3, 4), b=conv(3, 2), d=conv(9, 9, 3, groups=9), head=conv(9, 2),
    )  # fmt: skip
    graph = trace(net, X)
    assert attributes_of(graph, {"a": [0]}) == {"d.groups": 1 + 3 + 2}
    assert attributes_of(graph, {"a": [0, 3], "b": [1]}) == {"d.groups": 2 + 3 + 1}
    assert attributes_of(graph, {}) == {}


@pytest.mark.parametrize("thing", [threading.Lock(), (number for number in range(3))])
def test_what_cannot_be_copied_is_named(thing):
    net = nn.Sequential(nn.Conv2d(3, 8, 1))
    net.thing = thing
    with pytest.raises(
        ModelError, match=r"Sequential cannot be copied \(cannot pickle '.*'.*\)\. Remove what cannot be"
    ):
        sliced_copy(net, {"0.weight": {0: EVENS}}, {})
