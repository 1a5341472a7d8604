"""Genomes decode to legal plans within the budget, deterministically and fast."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.search.landscape import network

import convslim
from convslim.criteria.scores import Scores
from convslim.errors import BudgetError, PlanError
from convslim.search.space import BOUNDS, Space, search_space

MODEL, GRAPH, SCORES = network()
SPACES = {
    (form, round_to, share): search_space(GRAPH, SCORES, {"macs": share}, form=form, round_to=round_to)
    for form in ("threshold", "quantile")
    for round_to in (1, 8)
    for share in (0.2, 0.5, 0.9)
}


def genomes(space: Space) -> st.SearchStrategy[np.ndarray]:
    low, high = space.bounds
    factors = st.floats(low, high, allow_nan=False)
    return st.lists(factors, min_size=len(space.genes), max_size=len(space.genes)).map(np.array)


@given(data=st.data(), key=st.sampled_from(sorted(SPACES)))
@settings(max_examples=150, deadline=None)
def test_budget_is_never_exceeded_and_widths_are_legal(data: st.DataObject, key: tuple[str, int, float]):
    space = SPACES[key]
    genome = data.draw(genomes(space))
    counts = space.decode(genome)
    assert space.within(counts)
    assert space.cost(counts)["macs"] <= key[2] * space.cost(space.whole())["macs"]
    for gene, width in enumerate(space.widths(counts)):
        assert width in space.allowed(gene)
        assert width >= 0.1 * 48
    assert (space.decode(genome.copy()) == counts).all()
    assert (space.counts(space.widths(counts)) == counts).all()


@given(data=st.data(), scale=st.floats(0.3, 3.0))
@settings(max_examples=50, deadline=None)
def test_only_ratios_count_under_a_budget(data: st.DataObject, scale: float):
    space = SPACES["threshold", 1, 0.5]
    genome = data.draw(genomes(space))
    assert abs(space.decode(genome) - space.decode(genome * scale)).max() <= 1  # ties may fall to the other side


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_without_budget_a_channel_stays_if_its_score_reaches_the_factor(data: st.DataObject):
    space = search_space(GRAPH, SCORES, None, round_to=1, min_ratio=0.0)
    genome = data.draw(genomes(space))
    for gene, width in enumerate(space.widths(space.decode(genome))):
        scores = SCORES.values[space.genes[gene]]
        assert width == max(int((scores / scores.mean() >= genome[gene]).sum()), 1)


def test_quantile_is_the_share_that_goes():
    space = search_space(GRAPH, SCORES, None, form="quantile", round_to=1)
    assert space.widths(space.decode(np.array([0.25, 0.5, 0.02, 0.75]))) == (36, 24, 47, 12)


@pytest.mark.parametrize("key", sorted(SPACES))
def test_encode_gives_widths_back(key: tuple[str, int, float]):
    space = SPACES[key]
    generator = np.random.default_rng(0)
    for _ in range(20):
        counts = space.decode(space.random(generator))
        apart = abs(space.decode(space.encode(counts)) - counts)
        assert apart.max() <= (2 if key[:2] == ("quantile", 1) else 0)  # a share below 2 % is out of bounds


def test_starts_are_the_plans_of_allocate():
    space = SPACES["threshold", 8, 0.5]
    found = [space.plan(counts) for _, counts in space.starts()]
    for how, plan in (("uniform", found[1]), ("global", found[2])):
        assert plan == convslim.allocate(GRAPH, SCORES, {"macs": 0.5}, how=how)


def test_plan_keeps_the_highest_scores_and_is_carried_out():
    space = SPACES["threshold", 8, 0.5]
    counts = space.decode(np.array([1.0, 0.5, 1.5, 1.0]))
    plan = space.plan(counts)
    for name, width in zip(space.genes, space.widths(counts), strict=True):
        assert plan.kept[name] == tuple(range(48 - width, 48))  # scores rise with the index
    small = convslim.remove(MODEL, plan, torch.zeros(1, 3, 8, 8), graph=GRAPH)
    assert convslim.cost(small, torch.zeros(1, 3, 8, 8)).macs == space.cost(counts)["macs"]


def test_key_is_of_the_plan():
    space = SPACES["threshold", 8, 0.5]
    drawn = ([1.0, 1.1, 1.2, 1.3], [1.001, 1.1, 1.2, 1.3], [0.1, 2.0, 2.0, 1.0])
    one, same, other = (space.decode(np.array(genome)) for genome in drawn)
    assert (one == same).all()
    assert space.key(one) == space.key(same) != space.key(other)


def test_decoding_resnet_56_takes_a_millisecond():
    model = convslim.models.create("resnet56_cifar")
    graph = convslim.trace(model, torch.zeros(1, 3, 32, 32), ways=("class",))
    space = search_space(graph, convslim.score(graph, model, "l1"), {"macs": 0.5})
    drawn = [space.random(np.random.default_rng(seed)) for seed in range(20)]
    started = time.process_time()
    for genome in drawn:
        space.decode(genome)
    assert (time.process_time() - started) / 20 < 0.005


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"form": "treshold"}, PlanError, "Did you mean 'threshold'"),
        ({"keep": ["*"]}, PlanError, "None of the 5 channel groups can be cut"),
        ({"keep": ["nothing"]}, PlanError, "matches no layer"),
        ({"budget": {"macs": 0.001}}, BudgetError, "cannot be reached"),
        ({"budget": {"mac": 0.5}}, BudgetError, "Did you mean 'macs'"),
        ({"scores": Scores("x", "other", SCORES.values)}, PlanError, "another graph"),
        (
            {"scores": Scores("x", GRAPH.structure, {name: -each for name, each in SCORES.values.items()})},
            PlanError,
            "scores below 0",
        ),
    ],
)
def test_errors_name_the_rule(change: dict[str, object], error: type[Exception], words: str):
    given = {"scores": SCORES, "budget": {"macs": 0.5}, **change}
    with pytest.raises(error, match=words):
        search_space(GRAPH, **given)  # type: ignore[arg-type]


def test_all_zero_scores_are_no_division_by_zero():
    zero = Scores("x", GRAPH.structure, {name: np.zeros(48) for name in SCORES.values})
    space = search_space(GRAPH, zero, {"macs": 0.5})
    assert space.within(space.decode(np.full(4, BOUNDS["threshold"][1])))
