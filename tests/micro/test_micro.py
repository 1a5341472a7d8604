"""Laws that hold on every micro-network: pruned and proven, or pinned with the right reason."""

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

from .case import Case, Example, call, fresh
from .masking import masked, random_kept, relative_error, removed_positions, state
from .networks import CASES

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
    case = TABLE[name]
    return convslim.trace(fresh(case), case.example(2, 0))


@cache
def pruned(name: str, share: str) -> Pruned:
    case, graph = TABLE[name], traced(name)
    model = fresh(case)
    plan = convslim.make_plan(graph, random_kept(graph, SHARES[share], seed=len(name)))
    small = convslim.remove(model, plan, case.example(2, 1))
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
        "identities": {name: id(tensor) for name, tensor in state(model).items()},
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
shares = pytest.mark.parametrize("share", SHARES)


def test_names_are_unique() -> None:
    assert len(TABLE) == len(CASES)


@cases
def test_trace_leaves_everything_as_found(case: Case) -> None:
    model, example = fresh(case), case.example(2, 0)
    for number, module in enumerate(model.modules()):
        module.training = number % 2 == 0
    weights = {name: tensor.detach().clone() for name, tensor in state(model).items()}
    inputs = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in tree_leaves(example)]
    before = facts(model), random_states()
    convslim.trace(model, example)
    after = facts(model), random_states()
    assert after == before
    assert_same_state(state(model), weights)
    for found, expected in zip(tree_leaves(example), inputs, strict=True):
        assert torch.equal(found, expected) if isinstance(found, Tensor) else found == expected


@cases
def test_prunable_groups(case: Case) -> None:
    found = [(set(group.producers), group.num_channels) for group in traced(case.name).prunable]
    for producers, channels in case.prunes:
        wanted = set(producers.split())
        match = next((row for row in found if row[1] == channels and wanted <= row[0]), None)
        assert match, f"no prunable group of {channels} channels made by {producers}: {found}"
        found.remove(match)
    assert not found, f"groups that should not be prunable: {found}"


@cases
def test_pins_say_why(case: Case) -> None:
    graph = traced(case.name)
    for producer, pattern in case.pinned.items():
        reasons = [str(pin) for group in graph.groups if producer in group.producers for pin in group.pins]
        assert any(re.search(pattern, reason) for reason in reasons), f"{producer}: {reasons}"
        assert any(reason in graph.explain(producer) for reason in reasons)
    for pin in (pin for group in graph.groups for pin in group.pins):
        assert pin.reason
        assert not pin.operation or re.fullmatch(r"\w+\.py:\d+", pin.source), pin


@shares
@cases
def test_removed_equals_masked(case: Case, share: str) -> None:
    cut = pruned(case.name, share)
    example = case.example(3, 7)
    expected = output(masked(cut.model, cut.graph, cut.plan.kept, case.masked), example)
    assert relative_error(output(cut.small, example), expected) <= 1e-4
    read = removed_positions(cut.graph, cut.plan.kept, ("in",))
    if read and case.name != "unused_output":
        assert relative_error(output(cut.model, example), expected) > 1e-4, "the mask changes nothing"


@shares
@cases
def test_tensors_shrink_exactly_as_planned(case: Case, share: str) -> None:
    cut = pruned(case.name, share)
    expected = {name: list(tensor.shape) for name, tensor in state(cut.model).items()}
    removed = removed_positions(cut.graph, cut.plan.kept)
    for (name, dim), positions in removed.items():
        expected[name][dim] -= len(positions)
    aliases = {id(tensor): name for name, tensor in reversed(state(cut.model).items())}
    first = {name: aliases[id(tensor)] for name, tensor in state(cut.model).items()}
    found = {name: list(tensor.shape) for name, tensor in state(cut.small).items()}
    assert found == {name: expected[first[name]] for name in expected}
    assert bool(removed) == any(group.num_channels > 1 for group in cut.graph.prunable)


@cases
def test_small_model_is_of_the_same_kind(case: Case) -> None:
    cut = pruned(case.name, "half")
    assert type(cut.small) is type(cut.model)
    before, after = facts(cut.model), facts(cut.small)
    for fact in ("training", "hooks", "attributes"):
        assert after[fact] == before[fact]
    grads = {name: p.requires_grad for name, p in cut.model.named_parameters()}
    assert {name: p.requires_grad for name, p in cut.small.named_parameters()} == grads
    assert_same_state(state(cut.model), state(fresh(case)))
    for module in cut.small.modules():
        assert_attributes_fit(module)


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


@cases
def test_small_model_trains_where_the_model_does(case: Case) -> None:
    cut = pruned(case.name, "half")
    trained = trains(fresh(case), case)
    if trained is not None:
        assert trains(convslim.rebuild(fresh(case), cut.plan), case) == trained


def trains(model: nn.Module, case: Case) -> set[str] | None:
    """Names of parameters that one backward pass reaches; None if this network has no gradient at all."""
    model.train()
    outputs = [leaf for leaf in tree_leaves(call(model, case.example(3, 3))) if isinstance(leaf, Tensor)]
    if case.name == "custom_op" or not any(leaf.requires_grad for leaf in outputs):
        return None  # no gradient is registered for the operation, or everything is frozen
    sum((leaf.square().sum() for leaf in outputs), torch.tensor(0.0)).backward()
    return {name for name, p in model.named_parameters() if p.grad is not None and p.grad.isfinite().all()}


@cases
def test_plan_replays_from_json(case: Case) -> None:
    cut = pruned(case.name, "half")
    plan = PruningPlan.from_json(cut.plan.to_json())
    assert plan == cut.plan
    again = convslim.rebuild(fresh(case), plan)
    assert_same_state(state(again), state(cut.small))
    example = case.example(3, 9)
    assert relative_error(output(again, example), output(cut.small, example)) == 0.0


@cases
def test_small_model_has_the_kept_channels_as_its_groups(case: Case) -> None:
    model, graph, example = fresh(case), traced(case.name), case.example(2, 0)
    plan = convslim.make_plan(graph, random_kept(graph, 0.5, seed=len(case.name), least=2))
    again = convslim.trace(convslim.remove(model, plan, example), example)
    expected = {name: len(kept) for name, kept in plan.kept.items()}
    assert {group.name: group.num_channels for group in again.groups} == expected


def test_shared_tensors_stay_shared() -> None:
    tied = pruned("tied_weights", "half").small
    assert tied.get_parameter("b.conv.weight") is tied.get_parameter("c.conv.weight")
    alias = pruned("alias", "half").small
    assert alias.get_submodule("b") is alias.get_submodule("b_again")
