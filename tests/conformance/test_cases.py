"""The table of cases: complete, unambiguous, and able to tell right from wrong."""

from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from convslim.conformance import CASES, FAMILIES, Case, fresh
from convslim.conformance.case import call
from convslim.conformance.kept import tensors_of, width_of

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def test_names() -> None:
    counts = Counter(case.name for case in CASES)
    assert [name for name, count in counts.items() if count > 1] == []
    assert all(case.name.isidentifier() for case in CASES)
    assert sum(map(len, FAMILIES.values())) == len(CASES) >= 80


@cases
def test_a_case_is_whole(case: Case) -> None:
    model = fresh(case)
    layers, parameters = dict(model.named_modules()), dict(model.named_parameters(remove_duplicate=False))
    assert width_of(model, case.target) > 1
    assert case.hard
    assert len(case.hard) <= 110
    assert set(case.outputs) <= layers.keys()
    assert set(case.heads) <= layers.keys()
    assert set(case.channel_dims) <= parameters.keys()
    for name, dim in case.channel_dims.items():
        assert dim is None or parameters[name].shape[dim] > 1
    raw = {name for name in parameters if name.rpartition(".")[0] == ""}
    assert raw <= set(case.channel_dims), "raw parameters whose dimension of channels nobody says"


@cases
def test_values_tell_where_they_are_from(case: Case) -> None:
    model, again = fresh(case), fresh(case)
    for name, tensor in tensors_of(model).items():
        if isinstance(tensor, nn.Parameter):
            assert tensor.unique().numel() == tensor.numel(), name
        assert torch.equal(tensor, tensors_of(again)[name])


@cases
@torch.no_grad()
def test_outputs_depend_on_the_image(case: Case) -> None:
    model = fresh(case)
    first, second = (
        [leaf for leaf in tree_leaves(call(model, case.example(2, seed))) if isinstance(leaf, Tensor)]
        for seed in (0, 1)
    )
    assert all(leaf.isfinite().all() for leaf in first)
    assert all(not torch.equal(*pair) for pair in zip(first, second, strict=True))
