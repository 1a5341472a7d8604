"""Laws that hold on every case of `convslim.conformance`: pruned and proven, or pinned with the right reason.

What is expected of each case stands in `expected.yaml`. Whether a smaller model is right is not convslim's to say: the
referee of `convslim.conformance` judges it.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import convslim
from convslim import ChannelGraph, PruningPlan
from convslim.channels.tape import named_tensors
from convslim.conformance import CASES, Answer, Case, Verdict, fresh, judge, judge_answer
from convslim.conformance.adapters.own import cut_by_l1
from convslim.conformance.case import Example, call
from convslim.conformance.kept import tensors_of
from convslim.conformance.referee import difference_of

from .expected import EXPECTED, IN_CLASS
from .plans import random_kept, removed_positions

# Networks with several ways to read their numbers: after a cut another one may be the best.
READS_ANEW = {"group_norm", "group_norm_of_two", "scaled_slice", "select_one", "temporal_shift"}
NO_GRADIENT = {"custom_op"}  # none is registered for the operation
LEAST = {"variance_channels": 2}  # of one value there is none

TABLE = {case.name: case for case in CASES}
SHARES = {"half": 0.5, "one": 0.0}


@dataclass(frozen=True)
class Pruned:
    model: nn.Module
    graph: ChannelGraph
    plan: PruningPlan
    small: nn.Module


@cache
def traced(name: str) -> ChannelGraph:
    """The graph of a case, and the check that its model and input are left as they were."""
    case = TABLE[name]
    model, example = fresh(case), case.example(2, 0)
    for number, module in enumerate(model.modules()):
        module.training = number % 2 == 0
    weights = {name: tensor.detach().clone() for name, tensor in tensors_of(model).items()}
    inputs = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in tree_leaves(example)]
    before = facts(model), random_states()
    graph = convslim.trace(model, example)
    after = facts(model), random_states()
    assert after == before
    assert_same_state(tensors_of(model), weights)
    for found, expected in zip(tree_leaves(example), inputs, strict=True):
        assert torch.equal(found, expected) if isinstance(found, Tensor) else found == expected
    return graph


@cache
def pruned(name: str, share: str) -> Pruned:
    case, graph = TABLE[name], traced(name)
    model = fresh(case)
    least = 2 if share == "half" else LEAST.get(name, 1)
    plan = convslim.make_plan(graph, random_kept(graph, SHARES[share], len(name), least))
    small = convslim.remove(model, plan, case.example(2, 0), graph=graph)
    return Pruned(model, graph, plan, small)


@torch.no_grad()
def output(model: nn.Module, example: Example) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return call(model, example)


def facts(model: nn.Module) -> dict[str, Any]:
    """Everything about a model that a trace must leave alone, weights aside."""
    modules = list(model.named_modules())
    return {
        "training": {name: module.training for name, module in modules},
        "hooks": {
            name: [len(value) for key, value in sorted(vars(module).items()) if key.endswith("_hooks")]
            for name, module in modules
        },
        "gradients": {name: (p.requires_grad, p.grad is None) for name, p in model.named_parameters()},
        "identities": {name: id(tensor) for name, tensor in tensors_of(model).items()},
        "attributes": {name: sorted(vars(module)) for name, module in modules},
    }


def random_states() -> tuple[Any, ...]:
    """State of the three global random number generators."""
    return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())


def assert_same_state(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
cases_in_class = pytest.mark.parametrize("case", IN_CLASS, ids=lambda case: case.name)
shares = pytest.mark.parametrize("share", SHARES)


def test_every_case_is_expected_once() -> None:
    assert [*EXPECTED] == [case.name for case in CASES]


@cases
def test_prunable_groups(case: Case) -> None:
    graph, expected = traced(case.name), EXPECTED[case.name]
    groups = [f"{group.num_channels} {' '.join(group.producers)}" for group in graph.prunable]
    assert sorted(groups) == sorted(expected["groups"]), f"{case.name}: groups: [{', '.join(groups)}]"
    assert graph.way == expected.get("way", "class")


@cases
def test_verdict(case: Case) -> None:
    judgment = judge(case, lambda model, task: cut_by_l1(traced(case.name), model, task))
    assert judgment.verdict.value == EXPECTED[case.name]["verdict"], judgment.reason
    if judgment.verdict is Verdict.REFUSED:
        assert re.search(EXPECTED[case.name]["pins"][case.target], judgment.reason)


@cases
def test_pins_say_why(case: Case) -> None:
    graph = traced(case.name)
    for layer, pattern in EXPECTED[case.name].get("pins", {}).items():
        assert re.search(rf"pinned: .*({pattern})", graph.explain(layer)), graph.explain(layer)
    for pin in (pin for group in graph.groups for pin in group.pins):
        assert pin.reason
        assert not pin.operation or re.fullmatch(r"\w+\.py:\d+", pin.source), pin


@shares
@cases_in_class
def test_smaller_model_is_right(case: Case, share: str) -> None:
    cut = pruned(case.name, share)
    lost = [group for group in cut.graph.groups if group.name in cut.plan.removed]
    answer = Answer(cut.small, "; ".join(str(pin) for group in lost for pin in group.approximations))
    examples = [case.example(3, seed) for seed in (7, 8)]
    judgment = judge_answer(cut.model, answer, examples, case.target)
    if not lost or EXPECTED[case.name]["verdict"] == "refused":
        assert judgment.verdict is Verdict.UNCHANGED  # the target is whole, and the rest is right
    else:
        assert judgment.verdict in (Verdict.EXACT, Verdict.APPROXIMATE), judgment.reason
        assert judgment.verdict is Verdict.EXACT or answer.approximate
    if lost and case.name != "unused_output":
        assert difference_of(output(cut.small, examples[0]), output(cut.model, examples[0]))


@shares
@cases_in_class
def test_tensors_shrink_exactly_as_planned(case: Case, share: str) -> None:
    cut = pruned(case.name, share)
    expected = {name: list(tensor.shape) for name, tensor in tensors_of(cut.model).items()}
    removed = removed_positions(cut.graph, cut.plan.kept)
    for (name, dim), positions in removed.items():
        expected[name][dim] -= len(positions)
    aliases = {id(tensor): name for name, tensor in reversed(tensors_of(cut.model).items())}
    first = {name: aliases[id(tensor)] for name, tensor in tensors_of(cut.model).items()}
    found = {name: list(tensor.shape) for name, tensor in tensors_of(cut.small).items()}
    assert {name: found[name] for name in expected} == {name: expected[first[name]] for name in expected}
    assert bool(removed) == any(group.num_channels > 1 for group in cut.graph.prunable)


@cases_in_class
def test_small_model_is_of_the_same_kind(case: Case) -> None:
    cut = pruned(case.name, "half")
    assert_same_state(tensors_of(cut.model), tensors_of(fresh(case)))
    grads = {name: p.requires_grad for name, p in cut.model.named_parameters()}
    assert {name: p.requires_grad for name, p in cut.small.named_parameters()} == grads
    for module in cut.small.modules():
        assert_attributes_fit(module)
    assert type(cut.small) is type(cut.model)
    before, after = facts(cut.model), facts(cut.small)
    for fact in ("training", "hooks", "attributes"):
        assert after[fact] == before[fact]


def assert_attributes_fit(module: nn.Module) -> None:
    """Numbers that a module holds beside its tensors agree with them."""
    if isinstance(module, nn.Linear):
        assert tuple(module.weight.shape) == (module.out_features, module.in_features)
    if isinstance(module, nn.modules.conv._ConvNd):
        sides = (module.in_channels, module.out_channels)
        first, second = sides if module.transposed else sides[::-1]
        assert tuple(module.weight.shape[:2]) == (first, second // module.groups)
    if isinstance(module, nn.modules.batchnorm._NormBase) and isinstance(module.running_mean, Tensor):
        assert module.num_features == len(module.running_mean)


@cases_in_class
def test_small_model_trains_where_the_model_does(case: Case) -> None:
    cut = pruned(case.name, "half")
    trained = trains(fresh(case), case)
    if trained is not None:
        assert trains(convslim.rebuild(fresh(case), cut.plan), case) == trained


def trains(model: nn.Module, case: Case) -> set[str] | None:
    """Names of parameters that one backward pass reaches; None if this network has no gradient at all."""
    model.train()
    outputs = [leaf for leaf in tree_leaves(call(model, case.example(3, 3))) if isinstance(leaf, Tensor)]
    if case.name in NO_GRADIENT or not any(leaf.requires_grad for leaf in outputs):
        return None
    sum((leaf.square().sum() for leaf in outputs), torch.tensor(0.0)).backward()
    return {name for name, p in model.named_parameters() if p.grad is not None and p.grad.isfinite().all()}


@cases_in_class
def test_plan_replays_from_json(case: Case) -> None:
    cut = pruned(case.name, "half")
    plan = PruningPlan.from_json(cut.plan.to_json())
    assert plan == cut.plan
    again = convslim.rebuild(fresh(case), plan)
    assert_same_state(tensors_of(again), tensors_of(cut.small))
    example = case.example(3, 9)
    for found, expected in zip(
        tree_leaves(output(again, example)), tree_leaves(output(cut.small, example)), strict=True
    ):
        assert torch.equal(found, expected) if isinstance(found, Tensor) else found == expected


@cases_in_class
def test_small_model_has_the_kept_channels_as_its_groups(case: Case) -> None:
    cut = pruned(case.name, "half")
    again = convslim.trace(cut.small, case.example(2, 0), ways=("class",))
    assert again.tensors == {name: tuple(tensor.shape) for name, tensor in named_tensors(cut.small).items()}
    if case.name not in READS_ANEW:
        expected = {name: len(kept) for name, kept in cut.plan.kept.items()}
        assert {group.name: group.num_channels for group in again.groups} == expected


def test_shared_tensors_stay_shared() -> None:
    tied = pruned("tied_weights", "half").small
    assert tied.get_parameter("b.conv.weight") is tied.get_parameter("c.conv.weight")
    alias = pruned("alias", "half").small
    assert alias.get_submodule("b") is alias.get_submodule("b_again")
