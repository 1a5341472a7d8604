"""Greedy removal against brute force: every step is the cheapest refit, and its cost is the refit's error."""

import numpy as np
import pytest
import torch

from convslim.criteria import downdates
from convslim.criteria.downdates import LeastSquares, removal_order


def problem(channels=6, size=2, outputs=3, rest=1, seed=0):
    """Random inputs, of which ``rest`` belong to no channel, in a shuffled order."""
    generator = torch.Generator().manual_seed(seed)
    num = channels * size + rest
    x = torch.randn(200, num, generator=generator, dtype=torch.float64)
    gram = x.T @ x / 200 + 1e-3 * torch.eye(num, dtype=torch.float64)
    matrix = torch.randn(num, outputs, generator=generator, dtype=torch.float64)
    order = np.random.default_rng(seed).permutation(num)[: channels * size]
    return LeastSquares(gram, matrix, order.reshape(channels, size))


def refit_error(case, gone):
    """Least error when the inputs of some channels are gone: the definition."""
    removed = torch.from_numpy(case.blocks[list(gone)].reshape(-1))
    left = torch.tensor([n for n in range(len(case.gram)) if n not in set(removed.tolist())], dtype=torch.int64)
    target = case.gram @ case.matrix
    fitted = torch.zeros_like(case.matrix)
    fitted[left] = torch.linalg.solve(case.gram[left][:, left], target[left])
    difference = fitted - case.matrix
    return float((difference * (case.gram @ difference)).sum())


@pytest.mark.parametrize("cases", [[problem()], [problem(size=1, rest=0), problem(size=3, seed=5)]])
def test_every_removal_is_the_cheapest_and_costs_what_a_refit_costs(cases):
    order, added = removal_order(cases)
    total = 0.0
    for step, chosen in enumerate(order):
        gone = order[:step].tolist()
        costs = {c: sum(refit_error(case, [*gone, c]) for case in cases) for c in range(6) if c not in gone}
        total += added[step]
        assert total == pytest.approx(costs[chosen], rel=1e-6)
        assert costs[chosen] <= min(costs.values()) * (1 + 1e-9)
    assert sorted(order.tolist()) == list(range(6))


@pytest.mark.parametrize("together", [1, 2, 5])
def test_it_does_not_matter_how_many_downdates_are_carried_out_together(together, monkeypatch):
    case = problem(channels=23, size=3, rest=2)
    order, added = removal_order([case])
    monkeypatch.setattr(downdates, "TOGETHER", together)
    again, more = removal_order([case])
    assert (order == again).all()
    assert np.allclose(added, more, rtol=1e-6)


def test_a_doubled_channel_goes_first_and_its_twin_stays():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 5, generator=generator, dtype=torch.float64)
    x = torch.cat([x, x[:, 2:3]], 1)
    gram = x.T @ x / 300 + 1e-8 * torch.eye(6, dtype=torch.float64)
    matrix = 1 + torch.rand(6, 4, generator=generator, dtype=torch.float64)
    order, added = removal_order([LeastSquares(gram, matrix, np.arange(6)[:, None])])
    assert order[0] in (2, 5)
    assert added[0] < 1e-6
    assert added[1:].min() > 0.1


def test_dependent_channels_do_not_break_the_downdates():
    x = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = x.repeat(1, 8)
    gram = x.T @ x / 50 + 1e-9 * torch.eye(16, dtype=torch.float64)
    order, added = removal_order([LeastSquares(gram, torch.ones(16, 2, dtype=torch.float64), np.arange(16)[:, None])])
    assert sorted(order.tolist()) == list(range(16))
    assert np.isfinite(added).all()
    assert np.abs(added[:14]).max() < 1e-3 * added[14:].min()


def test_an_indefinite_matrix_is_met_with_a_larger_diagonal():
    gram = torch.diag(torch.tensor([1.0, 1.0, 1.0, -1e-4], dtype=torch.float64))
    order, added = removal_order([LeastSquares(gram, torch.ones(4, 1, dtype=torch.float64), np.arange(4)[:, None])])
    assert order[0] == 3
    assert np.isfinite(added).all()
