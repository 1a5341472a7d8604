"""The laws of criteria, held by every entry of the table on every micro-network."""

import re
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from tests.micro.expected import EXPECTED, IN_CLASS
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from convslim import ChannelGraph, score, trace
from convslim.channels.tape import named_tensors
from convslim.conformance.case import Case, fresh
from convslim.criteria import CRITERIA, ActivationCriterion, AnyCriterion, Criterion, Scores
from convslim.criteria.fpgm import fpgm
from convslim.criteria.l1 import l1
from convslim.criteria.l2 import l2
from convslim.errors import ModelError

ALL = {**CRITERIA, "raw l1": l1(), "raw l2": l2(), "raw fpgm": fpgm()}
PRUNED = [case for case in IN_CLASS if EXPECTED[case.name]["groups"]]
TABLE = {case.name: case for case in PRUNED}

cases = pytest.mark.parametrize("case", PRUNED, ids=lambda case: case.name)


@cache
def traced(name: str) -> ChannelGraph:
    return trace(fresh(TABLE[name]), TABLE[name].example(1, 0), ways=("class",))


def sum_of_squares(outputs: Any, targets: Tensor) -> Tensor:
    leaves = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    return torch.stack([leaf.square().sum() for leaf in leaves]).sum() + targets.sum()


def batches(case: Case) -> list[tuple[Any, Tensor]]:
    return [(case.example(2, seed), torch.zeros(2)) for seed in (3, 4)]


def scored(case: Case, criterion: AnyCriterion, model: nn.Module | None = None) -> Scores | None:
    """Scores, or None where the criterion says with an error that it can score none of the groups."""
    graph = traced(case.name)
    try:
        return score(graph, model or fresh(case), criterion, batches=batches(case), loss=sum_of_squares, seed=7)
    except ModelError as error:
        if re.search("can score none|gives no gradients", str(error)):
            return None
        raise


@cache
def once(case_name: str, name: str) -> Scores | None:
    return scored(TABLE[case_name], ALL[name])


@cases
def test_shape_and_numbers_and_they_repeat(case: Case) -> None:
    graph = traced(case.name)
    for name, criterion in ALL.items():
        found, again = once(case.name, name), scored(case, criterion)
        if found is None or again is None:
            assert found is again, name
            continue
        assert {*found.values, *found.unscored} == {group.name for group in graph.prunable}, name
        for group, values in found.values.items():
            assert values.shape == (graph.group(group).num_channels,), (name, group)
            assert values.dtype == np.float64
            assert np.isfinite(values).all(), (name, group)
            assert np.array_equal(values, again.values[group]), (name, group)


@pytest.mark.parametrize("name", ALL)
def test_which_groups_have_no_scores(name: str) -> None:
    """Only the scale of a batch normalization can be missing, and only a foreign operation has no gradient."""
    results = {case.name: once(case.name, name) for case in PRUNED}
    silent = {case for case, found in results.items() if found is None}
    partly = {case for case, found in results.items() if found is not None and found.unscored}
    if name == "bn_scale":
        assert len(results) - len(silent | partly) > len(results) / 2
    else:
        assert silent == ({"custom_op"} if getattr(ALL[name], "needs_gradients", False) else set())
        # One matrix that is used both ways reads the channels that it makes: it has no filters of its own.
        assert partly <= {"transposed_tie"}


def orders_of(graph: ChannelGraph) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {group.name: torch.randperm(group.num_channels, generator=generator) for group in graph.prunable}


def permuted(graph: ChannelGraph, tensors: dict[str, Tensor], orders: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same network with the channels of every group in another order."""
    moved = dict(tensors)
    for group in graph.prunable:
        for axis in group.axes:
            if axis.tensor in moved:
                into, out_of = (torch.from_numpy(i).flatten() for i in (axis.index, axis.index[orders[group.name]]))
                source = moved[axis.tensor]
                moved[axis.tensor] = source.index_copy(axis.dim, into, source.index_select(axis.dim, out_of))
    return moved


@cases
def test_scores_follow_permuted_channels(case: Case) -> None:
    """Weights whose channels are permuted have permuted scores; only chance does not look at the weights."""
    graph = traced(case.name)
    tensors = {name: tensor.detach() for name, tensor in named_tensors(fresh(case)).items()}
    gradient = {name: torch.randn_like(tensor) for name, tensor in tensors.items() if tensor.is_floating_point()}
    orders = orders_of(graph)
    moved, moved_gradients = permuted(graph, tensors, orders), permuted(graph, gradient, orders)
    for name, criterion in ALL.items():
        if name == "random" or not isinstance(criterion, Criterion):
            continue
        for group in graph.prunable:
            before = criterion.function(group, tensors, gradient)
            after = criterion.function(group, moved, moved_gradients)
            if before is None or after is None:
                assert before is after, name
                continue
            torch.testing.assert_close(after, before[orders[group.name]], rtol=1e-6, atol=1e-9, msg=name)


@cases
def test_scores_of_maps_follow_permuted_channels(case: Case) -> None:
    graph, model = traced(case.name), fresh(case)
    tensors = {name: tensor.detach() for name, tensor in named_tensors(model).items()}
    orders = orders_of(graph)
    for name, tensor in permuted(graph, tensors, orders).items():
        tensors[name].copy_(tensor)
    for name, criterion in ALL.items():
        before, after = once(case.name, name), None
        if isinstance(criterion, ActivationCriterion):
            after = scored(case, criterion, model)
        if before is None or after is None:
            continue
        for group, values in after.values.items():
            expected = before.values[group][orders[group].numpy()]
            np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-5, err_msg=f"{name} of {group}")


def test_chance_does_not_look_at_the_weights() -> None:
    case = PRUNED[0]
    graph, model = traced(case.name), fresh(case)
    before = score(graph, model, "random").values
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    after = score(graph, model, "random").values
    assert all(np.array_equal(before[name], after[name]) for name in before)


def facts(model: nn.Module) -> dict[str, Any]:
    return {
        "training": {name: module.training for name, module in model.named_modules()},
        "frozen": {name: parameter.requires_grad for name, parameter in model.named_parameters()},
        "gradients": {name: parameter.grad for name, parameter in model.named_parameters()},
        "identities": {name: id(tensor) for name, tensor in named_tensors(model).items()},
        "attributes": {name: sorted(vars(module)) for name, module in model.named_modules()},
    }


@cases
def test_the_model_is_left_as_found(case: Case) -> None:
    model = fresh(case)
    for number, module in enumerate(model.modules()):
        module.training = number % 2 == 0
    for number, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(number % 2 == 0)
    weights = {name: tensor.detach().clone() for name, tensor in named_tensors(model).items()}
    before, random_state = facts(model), torch.get_rng_state()
    for criterion in ALL.values():
        scored(case, criterion, model)
    assert facts(model) == before
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(weights[name], tensor) for name, tensor in named_tensors(model).items())
