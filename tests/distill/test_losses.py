"""Guidance losses: one contract for all, and values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from convslim.distill import LossConfig, Views, guidance_loss
from convslim.distill.attention import attention_map
from convslim.distill.config import OPTIONS, Kind
from convslim.distill.fsp import flow

KINDS = sorted(OPTIONS)


def views(seed: int, num: int = 6) -> Views:
    """Scores of five classes, and maps of two resolutions."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(num, 5, generator=generator)
    return Views(scores, tuple(torch.randn(num, 3, size, size, generator=generator) for size in (8, 4)))


LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_finite_positive_and_differentiable(kind: Kind):
    student = Views(*(views(0).scores.requires_grad_(), tuple(maps.requires_grad_() for maps in views(0).maps)))
    loss = guidance_loss(LossConfig(kind=kind))(student, views(1), LABELS)
    assert loss.shape == ()
    assert 0 < loss.item() < math.inf
    loss.backward()
    grads = [tensor.grad for tensor in (student.scores, *student.maps) if tensor.grad is not None]
    assert grads
    assert all(grad.isfinite().all() and grad.abs().sum() > 0 for grad in grads)


@pytest.mark.parametrize("kind", KINDS)
def test_zero_where_student_and_teacher_agree(kind: Kind):
    assert guidance_loss(LossConfig(kind=kind))(views(2), views(2), LABELS).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_the_batch_does_not_matter(kind: Kind):
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    loss = guidance_loss(LossConfig(kind=kind))

    def turned(given: Views) -> Views:
        return Views(given.scores[order], tuple(maps[order] for maps in given.maps))

    assert float(loss(turned(views(0)), turned(views(1)), LABELS[order])) == pytest.approx(
        loss(views(0), views(1), LABELS).item(), rel=1e-5
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_down_the_gradient_helps(kind: Kind):
    start = views(0)
    leaves = [tensor.clone().requires_grad_() for tensor in (start.scores, *start.maps)]
    loss = guidance_loss(LossConfig(kind=kind))

    def at(tensors: list[Tensor]) -> Tensor:
        return loss(Views(tensors[0], tuple(tensors[1:])), views(1), LABELS)

    before = at(leaves)
    before.backward()
    moved = [leaf.detach() - 1e-3 * leaf.grad if leaf.grad is not None else leaf.detach() for leaf in leaves]
    assert at(moved).item() < before.item()


def test_logits_by_hand():
    told, said = torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    p = 1 / (1 + math.exp(-2.0))  # T = 2
    kl = p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5)
    found = guidance_loss(LossConfig(kind="logits", temperature=2.0))(Views(said), Views(told), torch.tensor([0]))
    assert found.item() == pytest.approx(4 * kl, rel=1e-5)


def test_gradient_of_logits_is_that_of_the_paper():
    """∂L/∂z = T·(softmax(z/T) - softmax(v/T))/N: with T² outside, near T large, the difference of scores."""
    told, said = torch.randn(3, 4), torch.randn(3, 4, requires_grad=True)
    guidance_loss(LossConfig(kind="logits", temperature=3.0))(Views(said), Views(told), LABELS[:3]).backward()
    expected = 3.0 * (F.softmax(said.detach() / 3, 1) - F.softmax(told / 3, 1)) / 3
    torch.testing.assert_close(said.grad, expected)


def test_dkd_is_logits_where_its_weights_are_those_of_the_decomposition():
    """KD = TCKD + (1 - p_label of the teacher)·NCKD, for one image."""
    told, said, label = torch.randn(1, 5), torch.randn(1, 5), torch.tensor([2])
    rest = 1 - float(F.softmax(told / 4, 1)[0, 2])
    decoupled = guidance_loss(LossConfig(kind="dkd", alpha=1.0, beta=rest))(Views(said), Views(told), label)
    plain = guidance_loss(LossConfig(kind="logits"))(Views(said), Views(told), label)
    assert decoupled.item() == pytest.approx(plain.item(), rel=1e-4)


def test_attention_sees_places_not_sizes_and_widths():
    maps = torch.randn(2, 3, 4, 4)
    assert torch.equal(attention_map(maps), attention_map(-maps))
    torch.testing.assert_close(attention_map(5 * maps), attention_map(maps))
    torch.testing.assert_close(attention_map(maps.repeat(1, 2, 1, 1)), attention_map(maps))
    assert attention_map(maps).square().sum(1).tolist() == pytest.approx([1.0, 1.0])


def test_attention_by_hand():
    own, given = torch.tensor([[[[3.0, 0.0]]]]), torch.tensor([[[[0.0, 2.0]]]])
    found = guidance_loss(LossConfig(kind="attention"))(Views(own, (own,)), Views(own, (given,)), torch.tensor([0]))
    assert found.item() == pytest.approx(1.0)  # ((1 - 0)² + (0 - 1)²)/2


def test_flow_by_hand():
    first = torch.tensor([[[[1.0, 2.0]], [[0.0, 1.0]]]])  # two channels, two positions
    second = torch.tensor([[[[3.0, 4.0]]]])
    assert flow(first, second).tolist() == [[[(1 * 3 + 2 * 4) / 2], [(0 * 3 + 1 * 4) / 2]]]


def test_flow_pools_the_larger_map_by_its_maxima():
    first = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert flow(first, torch.ones(1, 1, 2, 2)).item() == (5 + 7 + 13 + 15) / 4


@pytest.mark.parametrize("kind", ["attention", "hint"])
def test_maps_of_other_sizes_are_averaged_down(kind: Kind):
    own = torch.randn(2, 3, 4, 4)
    given = own.repeat_interleave(2, 2).repeat_interleave(2, 3)
    loss = guidance_loss(LossConfig(kind=kind))(Views(own, (own,)), Views(own, (given,)), LABELS[:2])
    assert loss.item() == pytest.approx(0, abs=1e-6)
