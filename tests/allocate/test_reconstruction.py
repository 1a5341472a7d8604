"""Least error under budgets, against all combinations of widths."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import convslim
from convslim.allocate import solve
from convslim.allocate.budget import NO_LIMIT
from convslim.allocate.reconstruction import LeastError, error_of_widths
from convslim.criteria.scores import Scores
from convslim.errors import BudgetError
from convslim.measure.cost import CostModel


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Conv2d(8, 5, 1), nn.ReLU(),
        nn.Conv2d(5, 4, 1),
    )  # fmt: skip


@pytest.fixture
def graph():
    return convslim.trace(network(), torch.zeros(1, 3, 12, 12))


def drawn(graph, seed):
    rng = np.random.default_rng(seed)
    values = {g.name: rng.exponential(rng.exponential(), g.num_channels) for g in graph.prunable}
    return Scores("reconstruction", graph.structure, values)


def lost(graph, scores, plan):
    """Sum of the scores of what goes."""
    return sum(values.sum() - values[list(plan.kept[name])].sum() for name, values in scores.values.items())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("budget", [{"macs": 0.6}, {"params": 0.4}, {"macs": 0.7, "params": 0.5}])
def test_close_to_the_least_of_all_combinations(graph, seed, budget):
    scores = drawn(graph, seed)
    model = CostModel(graph)
    found = solve(graph, scores, budget, how="reconstruction", round_to=1, min_ratio=0)
    groups = [number for number, group in enumerate(graph.groups) if group.prunable]
    widths = np.array(list(itertools.product(*(range(1, model.sizes[g] + 1) for g in groups))))
    counts = np.repeat(model.sizes[None], len(widths), axis=0)
    counts[:, groups] = widths
    limits = np.array([found.limits.get(metric, NO_LIMIT) for metric in ("macs", "params")])
    fits = (model.evaluate(counts) <= limits).all(1)
    errors = sum(
        error_of_widths(scores.values[graph.groups[g].name], widths[:, place]) for place, g in enumerate(groups)
    )
    best, worst = errors[fits].min(), errors[fits].max()
    assert lost(graph, scores, found.plan) <= best + 0.06 * (worst - best)
    assert found.macs <= limits[0]
    assert found.params <= limits[1]


def test_nothing_goes_under_a_budget_that_is_met(graph):
    found = solve(graph, drawn(graph, 0), {"macs": 1.0}, how="reconstruction", round_to=1)
    assert not found.plan.removed
    assert found.threshold is None


def test_free_channels_go_before_any_other(graph):
    scores = drawn(graph, 1)
    free = {name: np.where(np.arange(len(v)) < 2, 0.0, 1 + v) for name, v in scores.values.items()}
    scores = Scores("reconstruction", graph.structure, free)
    small = {name: len(v) - 2 for name, v in free.items()}
    budget = CostModel(graph).macs(small)
    found = solve(graph, scores, {"macs": budget}, how="reconstruction", round_to=1)
    assert {name: len(found.plan.kept[name]) for name in small} == small
    assert lost(graph, scores, found.plan) == 0


def test_widths_are_rounded_and_layers_kept():
    net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 48, 3), nn.ReLU(), nn.Conv2d(48, 4, 1))
    graph = convslim.trace(net, torch.zeros(1, 3, 12, 12))
    found = solve(graph, drawn(graph, 0), {"macs": 0.5}, how="reconstruction", round_to=8)
    assert all(len(kept) % 8 == 0 for name, kept in found.plan.kept.items() if name in ("0", "2"))
    found = solve(graph, drawn(graph, 0), {"macs": 0.6}, how="reconstruction", round_to=8, keep=["0"])
    assert len(found.plan.kept["0"]) == 32


def test_a_budget_out_of_reach_is_an_error(graph):
    with pytest.raises(BudgetError, match="cannot be reached"):
        solve(graph, drawn(graph, 0), {"macs": 0.001}, how="reconstruction", round_to=1)


def test_several_budgets_are_better_than_their_sum_alone(graph):
    scores = drawn(graph, 2)
    model = CostModel(graph)
    groups = [number for number, group in enumerate(graph.groups) if group.prunable]
    allowed = [np.arange(1, model.sizes[g] + 1) for g in groups]
    errors = [error_of_widths(scores.values[graph.groups[g].name], a) for g, a in zip(groups, allowed, strict=True)]
    slack = LeastError(model, groups, allowed, errors, np.array([NO_LIMIT, model.params() // 2]))
    loose = LeastError(model, groups, allowed, errors, np.array([model.macs() * 99 // 100, model.params() // 2]))
    assert loose.error(loose.solve()) <= slack.error(slack.solve()) * 1.25 + 1e-9
