"""Whatever the network and whatever the plan: removal is masking, and plans compose."""

from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from tests.micro.plans import random_kept, removed_positions
from torch import nn

import convslim
from convslim.conformance.case import Case, call, fresh
from convslim.conformance.kept import tensors_of
from convslim.conformance.referee import Verdict, judge_answer
from convslim.conformance.tool import Answer

from .grammar import cases

quick = settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
seeds = st.integers(0, 10_000)
shares = st.floats(0.0, 1.0)


@torch.no_grad()
def output(model: nn.Module, case: Case) -> Any:
    return call(model, case.example(3, 11))


@quick
@given(case=cases(), seed=seeds, share=shares)
def test_removed_equals_masked(case: Case, seed: int, share: float) -> None:
    model, example = fresh(case), case.example(1, 0)
    graph = convslim.trace(model, example)
    assert graph.prunable, f"nothing to prune in {case.name}"
    plan = convslim.make_plan(graph, random_kept(graph, share, seed))
    note(f"{case.name}: {plan}")
    small = convslim.remove(model, plan, example)
    judgment = judge_answer(model, Answer(small), [case.example(3, 11)], case.target)
    assert judgment.verdict in (Verdict.EXACT, Verdict.UNCHANGED), judgment.reason
    expected = {name: list(tensor.shape) for name, tensor in tensors_of(model).items()}
    for (name, dim), positions in removed_positions(graph, plan.kept).items():
        expected[name][dim] -= len(positions)
    assert {name: list(tensor.shape) for name, tensor in tensors_of(small).items()} == expected


@quick
@given(case=cases(), seed=seeds)
def test_trace_of_the_result_has_the_kept_widths(case: Case, seed: int) -> None:
    model, example = fresh(case), case.example(1, 0)
    graph = convslim.trace(model, example)
    plan = convslim.make_plan(graph, random_kept(graph, 0.6, seed, least=2))
    again = convslim.trace(convslim.remove(model, plan, example), example)
    note(case.name)
    widths = {group.name: group.num_channels for group in again.groups if group.num_channels > 1}
    expected = {name: len(kept) for name, kept in plan.kept.items()}
    assert widths.items() <= expected.items()
    assert all(name in widths or width == 1 for name, width in expected.items())


@quick
@given(case=cases(), seed=seeds)
def test_two_plans_in_one(case: Case, seed: int) -> None:
    model, example = fresh(case), case.example(1, 0)
    graph = convslim.trace(model, example)
    first = convslim.make_plan(graph, random_kept(graph, 0.7, seed, least=2))
    between = convslim.remove(model, first, example)
    graph_between = convslim.trace(between, example)
    second = convslim.make_plan(graph_between, random_kept(graph_between, 0.7, seed + 1, least=2))
    note(case.name)
    stepwise = convslim.remove(between, second, example)
    at_once = convslim.remove(model, first.then(second), example)
    assert torch.equal(output(at_once, case), output(stepwise, case))
    found, expected = tensors_of(at_once), tensors_of(stepwise)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@quick
@given(case=cases())
def test_structure_is_reproducible(case: Case) -> None:
    first = convslim.trace(fresh(case), case.example(1, 0))
    second = convslim.trace(fresh(case), case.example(3, 5))
    assert first.structure == second.structure
