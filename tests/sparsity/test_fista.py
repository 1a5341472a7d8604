"""FISTA against the closed form of a lasso, and its pieces by hand."""

from __future__ import annotations

import math

import pytest
import torch

from convslim.sparsity.fista import Descent, fista_step

CURVATURE = torch.tensor([1.0, 0.5, 2.0, 1.0])
AIM = torch.tensor([2.0, -1.0, 0.1, 0.0])


def solution(strength: float) -> torch.Tensor:
    """argmin ½ h (m - a)² + λ|m| = S(a, λ/h), entry by entry."""
    return AIM.sign() * (AIM.abs() - strength / CURVATURE).clamp_min(0)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 1.0])
def test_reaches_the_closed_form_of_a_lasso(momentum: float):
    rate, strength = 0.5, 0.3
    at = Descent(torch.ones(4), torch.ones(4), 1.0)
    for _ in range(400):
        moved = at.point - rate * CURVATURE * (at.point - AIM)
        at = fista_step(moved, at, torch.tensor(rate * strength), momentum)
    torch.testing.assert_close(at.settled, solution(strength), atol=1e-4, rtol=0)
    assert (at.settled == 0).tolist() == [False, False, True, True]


def test_inertia_makes_it_faster():
    def error(momentum: float) -> float:
        at = Descent(torch.ones(4), torch.ones(4), 1.0)
        for _ in range(30):
            at = fista_step(at.point - 0.05 * CURVATURE * (at.point - AIM), at, torch.tensor(0.05 * 0.3), momentum)
        return float((at.settled - solution(0.3)).norm())

    assert error(1.0) < 0.5 * error(0.0)


def test_two_steps_by_hand():
    start = Descent(torch.tensor([1.0]), torch.tensor([1.0]), 1.0)
    first = fista_step(torch.tensor([0.8]), start, torch.tensor(0.1))
    t1 = (1 + math.sqrt(5)) / 2
    assert first.settled.item() == pytest.approx(0.7)
    assert first.point.item() == pytest.approx(0.7)  # (t - 1)/t⁺ is zero in the first step
    assert first.inertia == pytest.approx(t1)
    second = fista_step(torch.tensor([0.6]), first, torch.tensor(0.1))
    t2 = (1 + math.sqrt(1 + 4 * t1**2)) / 2
    assert second.settled.item() == pytest.approx(0.5)
    assert second.point.item() == pytest.approx(0.5 + (t1 - 1) / t2 * (0.5 - 0.7))


def test_what_is_cut_is_cut_in_the_forward_pass_too():
    at = Descent(torch.tensor([0.05]), torch.tensor([0.5]), 5.0)
    step = fista_step(torch.tensor([0.05]), at, torch.tensor(0.1))
    assert (step.settled.item(), step.point.item()) == (0, 0)
