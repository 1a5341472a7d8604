"""MACs and parameters, against published counts, PyTorch's own counter, and networks that were really cut."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from tests.micro.plans import random_kept
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import convslim
from convslim import ChannelGraph, ChannelGroup, CostModel, ParamAxis, cost, trace
from convslim.channels.graph import ChannelCount, LayerCall
from convslim.conformance.case import Case, call, fresh
from convslim.conformance.cases import CASES
from convslim.errors import ModelError, PlanError
from convslim.measure.cost import METRICS, layer_costs

ORACLES = {
    "resnet20_cifar": (269_722, 40_551_040),
    "resnet56_cifar": (853_018, 125_485_696),
    "resnet110_cifar": (1_727_962, 252_887_680),
    "vgg16_bn_cifar": (14_724_042, 313_201_664),
}
TABLE = {case.name: case for case in CASES}
# Products of weights with weights can be done once, before any image comes, so they do not count.
UNCOUNTED = {*("adapted_conv", "adapted_linear", "orthogonal")}
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@cache
def traced(name: str) -> ChannelGraph:
    return trace(fresh(TABLE[name]), TABLE[name].example(1, 0), ways=("class",))


@pytest.mark.parametrize("name", ORACLES)
def test_published_counts_to_the_unit(name: str) -> None:
    found = cost(convslim.models.create(name), torch.zeros(1, 3, 32, 32))
    assert (found.params, found.macs) == ORACLES[name]


@cases
def test_counts_what_pytorch_counts(case: Case) -> None:
    model, example = fresh(case).eval(), case.example(1, 0)
    found = layer_costs(traced(case.name))
    assert found.params == sum(parameter.numel() for parameter in model.parameters())
    if any("attention" in row.operation for row in found.layers):
        return  # fused attention on a CPU is not in PyTorch's table
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call(model, example)
    if case.name in UNCOUNTED:
        assert 2 * found.macs < counter.get_total_flops()
    else:
        assert 2 * found.macs == counter.get_total_flops()


@cases
def test_predicts_the_cost_of_the_cut_network(case: Case) -> None:
    model, example, graph = fresh(case), case.example(1, 0), traced(case.name)
    kept = random_kept(graph, 0.5, seed=3)
    counts = {name: len(channels) for name, channels in kept.items()}
    found = cost(convslim.remove(model, convslim.make_plan(graph, kept), example), example)
    predicted = CostModel(graph)
    assert predicted.params(counts) == found.params
    assert predicted.macs(counts) == found.macs


@cases
def test_rows_add_up_and_the_model_agrees_with_them(case: Case) -> None:
    graph = traced(case.name)
    found, predicted = layer_costs(graph), CostModel(graph)
    assert found.macs == sum(row.macs for row in found.layers) == predicted.macs()
    assert found.params == sum(row.params for row in found.layers) == predicted.params()


def test_rows_of_a_small_network() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))
    rows = {row.module: row for row in cost(net, torch.zeros(1, 3, 8, 8)).layers}
    assert (rows["0"].macs, rows["0"].params, rows["0"].weight_shape) == (36 * 8 * 27, 8 * 27 + 8, (8, 3, 3, 3))
    assert (rows["1"].macs, rows["1"].params, rows["1"].operation) == (0, 16, "")
    assert (rows["4"].macs, rows["4"].params) == (5 * 288, 5 * 288 + 5)
    assert set(rows) == {"0", "1", "4"}


def test_a_layer_used_twice_works_twice_and_is_stored_once() -> None:
    shared = nn.Conv2d(4, 4, 1, bias=False)
    found = cost(nn.Sequential(shared, nn.ReLU(), shared), torch.zeros(1, 4, 5, 5))
    assert (found.macs, found.params, len(found.layers)) == (2 * 25 * 16, 16, 1)


def axis(tensor: str, dim: int, start: int, channels: int, positions: int = 1) -> ParamAxis:
    index = start + np.arange(channels * positions).reshape(channels, positions)
    return ParamAxis(tensor, dim, index, "out" if dim == 0 else "in")


def count(fixed: int = 0, **times: list[int]) -> ChannelCount:
    return ChannelCount({group: np.array(each) for group, each in times.items()}, fixed)


def shared_axis_graph() -> ChannelGraph:
    """A (6 channels) and B (4 channels, each at 3 positions) feed C beside 2 positions of no group."""
    groups = (
        ChannelGroup("a", 6, (axis("a", 0, 0, 6), axis("c", 1, 2, 6)), ("a",), ("c",)),
        ChannelGroup("b", 4, (axis("b", 0, 0, 4), axis("c", 1, 8, 4, 3)), ("b",), ("c",)),
    )
    tensors = {"a": (6, 3, 3, 3), "b": (4, 3, 1, 1), "c": (5, 20, 1, 1), "buffer": (6,)}
    calls = (
        LayerCall("a", "convolution", "a", 100 * 27, (count(a=[1] * 6),)),
        LayerCall("b", "convolution", "b", 100 * 3, (count(b=[1] * 4),)),
        LayerCall("c", "convolution", "c", 25 * 5, (count(2, a=[1] * 6, b=[3] * 4),)),
        LayerCall("", "bmm", None, 7, (count(b=[1] * 4), count(1, b=[1] * 4))),
    )
    return ChannelGraph("0", groups, tensors, frozenset("abc"), calls)


def test_groups_that_share_an_axis() -> None:
    model = CostModel(shared_axis_graph())
    assert model.macs() == 100 * 6 * 27 + 100 * 4 * 3 + 25 * 5 * 20 + 7 * 4 * 5
    assert model.params() == 6 * 27 + 4 * 3 + 5 * 20
    assert model.macs({"a": 2, "b": 1}) == 100 * 2 * 27 + 100 * 1 * 3 + 25 * 5 * (2 + 2 + 3) + 7 * 1 * 2
    assert model.params({"b": 3}) == 6 * 27 + 3 * 3 + 5 * (2 + 6 + 9)


def test_channels_at_unequal_numbers_of_positions_are_an_upper_bound() -> None:
    graph = shared_axis_graph()
    model = CostModel(replace(graph, calls=(LayerCall("a", "convolution", "a", 10, (count(a=[1, 1, 1, 1, 1, 3]),)),)))
    assert model.macs() == 80
    assert model.macs({"a": 2}) == 10 * (2 + 2)


def test_many_count_vectors_at_once() -> None:
    model = CostModel(shared_axis_graph())
    counts = np.stack(np.meshgrid(np.arange(1, 7), np.arange(1, 5), indexing="ij"), -1)
    costs = model.evaluate(counts)
    assert costs.shape == (6, 4, len(METRICS))
    for a, b in np.ndindex(6, 4):
        kept = {"a": a + 1, "b": b + 1}
        assert costs[a, b].tolist() == [model.macs(kept), model.params(kept)]


def test_large_counts_stay_exact() -> None:
    size = 3_000_001
    groups = (ChannelGroup("a", size, (axis("a", 0, 0, size), axis("b", 1, 0, size)), ("a",), ("b",)),)
    tensors = {"a": (size, 7), "b": (11, size)}
    width = ChannelCount({"a": np.ones(size, np.int64)}, 0)
    calls = (LayerCall("a", "mm", "a", 7_000_021, (width,)), LayerCall("b", "mm", "b", 11_000_033, (width,)))
    graph = ChannelGraph("0", groups, tensors, frozenset("ab"), calls)
    assert CostModel(graph).macs({"a": size - 1}) == 1_000_003 * 18 * (size - 1)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"aa": 1}, r"no channel group 'aa'\. Did you mean 'a'\?"),
        ({"a": 7}, "Group 'a' has 6 channels and cannot keep 7; give a count from 0 to 6"),
        ({"a": -1}, "cannot keep -1"),
    ],
)
def test_counts_that_cannot_be(kept: dict[str, int], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        CostModel(shared_axis_graph()).macs(kept)


def test_a_model_that_fails_is_named() -> None:
    with pytest.raises(ModelError, match="Conv2d"):
        cost(nn.Conv2d(3, 4, 1), torch.zeros(1, 5, 8, 8))


def test_the_model_is_left_as_found() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout())
    before: dict[str, Tensor] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state = torch.get_rng_state()
    cost(model, torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)))
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
