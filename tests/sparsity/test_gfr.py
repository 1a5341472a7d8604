"""The relation module: its formula, and its written-out gradient against autograd's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from convslim.sparsity import GlobalFeatureRelation


def trained(channels: int, **options: int) -> GlobalFeatureRelation:
    """A module whose factors differ."""
    relation = GlobalFeatureRelation(channels, **options).double()
    nn.init.normal_(relation.excite.weight)
    nn.init.normal_(relation.excite.bias)
    return relation


def formula(relation: GlobalFeatureRelation, u: Tensor) -> Tensor:
    z = u.flatten(2).mean(2) if u.dim() > 2 else u
    s = torch.sigmoid(4 * relation.excite(torch.relu(relation.squeeze(z))))
    return u * s.reshape(*s.shape, *[1] * (u.dim() - 2))


SHAPES = [(3, 16, 4, 4), (2, 5, 3, 7), (4, 6, 5), (4, 6), (2, 3, 2, 2, 2), (1, 4, 1, 1)]


@pytest.mark.parametrize("last", [False, True], ids=["channels-first", "channels-last"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients_are_those_of_the_formula(shape: tuple[int, ...], last: bool):
    relation = trained(shape[1])
    memory = torch.channels_last if last and len(shape) == 4 else torch.contiguous_format
    u, weight = (torch.randn(shape, dtype=torch.float64).contiguous(memory_format=memory) for _ in range(2))
    u.requires_grad_()
    inputs = [u, *relation.parameters()]
    y, expected = relation(u), formula(relation, u)
    torch.testing.assert_close(y, expected)
    found = torch.autograd.grad((y * weight).sum(), inputs)
    for ours, autograd in zip(found, torch.autograd.grad((expected * weight).sum(), inputs), strict=True):
        torch.testing.assert_close(ours, autograd)


def test_training_and_evaluation_give_the_same():
    relation, u = trained(8), torch.randn(2, 8, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(relation.train()(u), relation.eval()(u))
    with torch.no_grad():
        torch.testing.assert_close(relation.train()(u), relation.eval()(u))


def test_a_new_module_halves_exactly():
    u = torch.randn(2, 8, 3, 3)
    assert torch.equal(GlobalFeatureRelation(8)(u), u / 2)


@pytest.mark.parametrize(("channels", "reduction", "hidden"), [(16, 16, 4), (64, 16, 4), (256, 16, 16), (256, 4, 64)])
def test_width_of_the_hidden_layer(channels: int, reduction: int, hidden: int):
    assert GlobalFeatureRelation(channels, reduction).squeeze.out_features == hidden


def test_training_in_bfloat16_stays_close_to_float32():
    relation = trained(16).float()
    u = torch.randn(4, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = relation(u.bfloat16())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), relation(u), atol=0.05, rtol=0.05)
