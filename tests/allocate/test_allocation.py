"""Allocation on real networks, and what it refuses."""

import time
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

import convslim
from convslim import ChannelGraph, allocate, cost, remove, score, trace
from convslim.allocate import BudgetWarning, solve
from convslim.criteria import Scores
from convslim.errors import BudgetError, PlanError

EXAMPLE = torch.zeros(1, 3, 32, 32)


@cache
def network(name: str = "resnet20_cifar_b") -> nn.Module:
    torch.manual_seed(0)
    return convslim.models.create(name)


@cache
def task(name: str = "resnet20_cifar_b", criterion: str = "l1") -> tuple[ChannelGraph, Scores]:
    graph = trace(network(name), EXAMPLE)
    return graph, score(graph, network(name), criterion)


@pytest.mark.parametrize("how", ["global", "uniform"])
@pytest.mark.parametrize("budget", [{"macs": 0.47}, {"params": 0.4}, {"macs": 0.5, "params": 0.3}])
@pytest.mark.parametrize("name", ["resnet20_cifar", "resnet20_cifar_b", "vgg16_bn_cifar"])
def test_the_cut_network_costs_what_was_promised(name: str, budget: dict[str, float], how) -> None:
    graph, scores = task(name)
    found = solve(graph, scores, budget, how=how, round_to=4)
    real = cost(remove(network(name), found.plan, EXAMPLE), EXAMPLE)
    assert (real.macs, real.params) == (found.macs, found.params)
    use = [getattr(real, metric) / limit for metric, limit in found.limits.items()]
    assert not found.notes
    assert 0.99 <= max(use) <= 1


@pytest.mark.parametrize("round_to", [1, 8])
def test_an_absolute_budget(round_to: int) -> None:
    graph, scores = task()
    found = solve(graph, scores, {"macs": 20_000_000}, round_to=round_to)
    assert 19_800_000 <= found.macs <= 20_000_000


def test_the_threshold_is_global() -> None:
    graph, scores = task()
    found = solve(graph, scores, {"macs": 0.5}, round_to=1)
    assert found.threshold is not None
    for name, kept in found.plan.kept.items():
        if name in scores.values:
            lost = np.delete(scores.values[name], kept)
            assert not len(lost) or lost.max() <= found.threshold


def test_uniform_takes_the_same_ratio_everywhere() -> None:
    graph, scores = task("vgg16_bn_cifar")
    found = solve(graph, scores, {"params": 0.5}, how="uniform", round_to=1)
    ratios = [1 - len(found.plan.kept[group.name]) / group.num_channels for group in graph.prunable]
    assert max(ratios) - min(ratios) < 0.02
    assert found.threshold == pytest.approx(np.mean(ratios), abs=0.02)


def test_per_group_takes_the_nearest_allowed_width() -> None:
    graph, scores = task()
    plan = allocate(graph, scores, {}, how="per-group", ratios={"layer1.*": 0.5, "layer3.2.conv1": 0.3})
    removed = plan.removed
    assert {name for name in removed if not name.startswith("layer1")} == {"conv1", "layer3.2.conv1"}
    assert len(plan.kept["layer3.2.conv1"]) == 48  # 44.8, and 40 is farther
    assert len(plan.kept["layer1.0.conv1"]) == 8


def test_per_group_checks_the_budget() -> None:
    graph, scores = task()
    with pytest.raises(BudgetError, match=r"cannot be reached: with the given ratios .* Raise the ratios"):
        allocate(graph, scores, {"macs": 0.5}, how="per-group", ratios={"layer1.*": 0.5})
    allocate(graph, scores, {"macs": 0.5}, how="per-group", ratios={"*": 0.5})


def test_kept_layers_keep_all_they_make_and_read() -> None:
    graph, scores = task()
    plan = allocate(graph, scores, {"macs": 0.8}, keep=["layer2.0.conv1", "layer3.*"])
    assert plan.removed
    for group in graph.groups:
        layers = {group.name, *group.producers, *group.consumers}
        if any(layer == "layer2.0.conv1" or layer.startswith("layer3.") for layer in layers):
            assert group.name not in plan.removed


def test_groups_without_scores_stay_whole() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 32, 1), nn.ReLU(), nn.Conv2d(32, 256, 1), nn.BatchNorm2d(256), nn.ReLU(), nn.Conv2d(256, 2, 1)
    )
    graph = trace(net, EXAMPLE)
    plan = allocate(graph, score(graph, net, "bn_scale"), {"macs": 0.75}, round_to=1)
    assert set(plan.removed) == {"2"}


def test_a_budget_below_the_least_says_what_can_be_reached() -> None:
    graph, scores = task()
    message = (
        r"The budget macs=816,263 cannot be reached: with every group at its smallest width 4,886,608 remain, 12\.0% "
        r"of the original 40,813,184 and 5\.99 times the budget\. 12 of 13 groups may be cut.*=8.*min_ratio=0\.1"
    )
    with pytest.raises(BudgetError, match=message):
        allocate(graph, scores, {"macs": 0.02})
    with pytest.raises(BudgetError, match=r"params=[\d,]+ cannot be reached"):
        allocate(graph, scores, {"macs": 0.9, "params": 0.02})
    allocate(graph, scores, {"macs": 0.02}, round_to=1)


def test_a_budget_that_falls_between_widths_warns() -> None:
    net = nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU(), nn.Conv2d(16, 2, 1))
    graph = trace(net, EXAMPLE)
    scores = score(graph, net, "l1")
    with pytest.warns(BudgetWarning, match=r"is used to 71\.4% only.*steps of round_to=8; a smaller one comes closer"):
        plan = allocate(graph, scores, {"macs": 0.7})
    assert len(plan.kept["0"]) == 8
    with pytest.warns(BudgetWarning, match="too few or too coarse"):
        assert len(allocate(graph, scores, {"macs": 0.7}, round_to=1).kept["0"]) == 11


def test_a_budget_that_asks_for_nothing() -> None:
    graph, scores = task()
    assert not allocate(graph, scores, {"macs": 1.0}).removed
    with pytest.warns(BudgetWarning, match="Nothing had to go"):
        assert not allocate(graph, scores, {"macs": 10**9}).removed


def test_wrong_use() -> None:
    graph, scores = task()
    with pytest.raises(PlanError, match=r"no way 'globl' .* Did you mean 'global'\?"):
        allocate(graph, scores, {"macs": 0.5}, how="globl")  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="how='per-group' needs `ratios`"):
        allocate(graph, scores, {}, how="per-group")
    with pytest.raises(PlanError, match="how='global' takes no `ratios`"):
        allocate(graph, scores, {"macs": 0.5}, ratios={"*": 0.5})
    with pytest.raises(BudgetError, match="needs a budget"):
        allocate(graph, scores, {})
    with pytest.raises(PlanError, match=r"'layer9\.\*' matches no layer"):
        allocate(graph, scores, {"macs": 0.5}, keep=["layer9.*"])


def test_scores_of_something_else() -> None:
    graph, scores = task()
    with pytest.raises(PlanError, match="made for another graph: its structure is 123"):
        allocate(graph, replace(scores, structure="123"), {"macs": 0.5})
    name, values = next(iter(scores.values.items()))
    for wrong in (values[1:], np.full_like(values, np.nan)):
        with pytest.raises(PlanError, match=f"of group '{name}' must be {len(values)} finite numbers"):
            allocate(graph, replace(scores, values={**scores.values, name: wrong}), {"macs": 0.5})
    fewer = {key: value for key, value in scores.values.items() if key != name}
    with pytest.raises(PlanError, match=f"lack group '{name}'"):
        allocate(graph, replace(scores, values=fewer), {"macs": 0.5})


def test_a_large_network_takes_a_fraction_of_a_second() -> None:
    net = nn.Sequential()
    width = 3
    for number in range(60):
        net.append(nn.Conv2d(width, 256 + 8 * (number % 5), 1))
        width = 256 + 8 * (number % 5)
    graph = trace(net, torch.zeros(1, 3, 2, 2))
    scores = score(graph, net, "random")
    start = time.process_time()
    solve(graph, scores, {"macs": 0.5, "params": 0.5}, round_to=1)
    assert time.process_time() - start < 2
