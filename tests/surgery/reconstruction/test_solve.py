"""Ridge regression against its definition, and where it has no single answer."""

import torch

from convslim.surgery.reconstruction.moments import Moments, squared_error
from convslim.surgery.reconstruction.solve import STRENGTHS, fit, solve_ridge


def moments(x, y, weights=None):
    """Moments of rows, shapes (G, R, K) and (G, R, M)."""
    found = Moments.zeros(torch.zeros(x.shape[0], x.shape[2], y.shape[2]))
    found.add_(x, y, weights)
    return found


def problem(rows=400, inputs=6, outputs=3, groups=2, seed=0):
    torch.manual_seed(seed)
    x = torch.randn(groups, rows, inputs, dtype=torch.float64) + 2
    true = torch.randn(groups, inputs, outputs, dtype=torch.float64)
    return x, true, x @ true + torch.tensor([1.0, -2.0, 0.5])


def test_squared_error_is_the_mean_over_rows():
    x, true, y = problem()
    matrix, constant = torch.randn_like(true), torch.randn(2, 3, dtype=torch.float64)
    expected = (x @ matrix + constant[:, None] - y).square().mean(1)
    assert torch.allclose(squared_error(moments(x, y).centered(), matrix, constant), expected)


def test_moments_of_parts_add_up():
    x, _, y = problem()
    whole, parts = moments(x, y), moments(x[:, :100], y[:, :100]) + moments(x[:, 100:], y[:, 100:])
    assert all(torch.allclose(getattr(whole, name), getattr(parts, name)) for name in vars(whole))


def test_weights_are_repeated_rows():
    x, _, y = problem(rows=3)
    times = torch.tensor([2.0, 1.0, 3.0])
    repeated = moments(x[:, [0, 0, 1, 2, 2, 2]], y[:, [0, 0, 1, 2, 2, 2]])
    assert all(torch.allclose(getattr(repeated, n), getattr(moments(x, y, times), n)) for n in vars(repeated))


def test_fit_finds_weights_and_constant():
    x, true, y = problem()
    train, held = moments(x[:, :300], y[:, :300]), moments(x[:, 300:], y[:, 300:])
    found = fit(train, held, torch.zeros_like(true), torch.ones(2, 3), shift=True)
    assert found.strength == STRENGTHS[1]
    assert torch.allclose(found.matrix, true, atol=1e-4)
    assert torch.allclose(found.constant, torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64).expand(2, 3), atol=1e-3)


def test_without_a_place_for_it_no_constant_is_fitted():
    x, true, y = problem()
    found = fit(moments(x, y), moments(x, y), torch.zeros_like(true), torch.ones(2, 3), shift=False)
    assert not found.constant.any()
    assert (found.held_after < found.held_before).all()


def test_right_weights_stay_bit_for_bit():
    x, true, _ = problem()
    exact = moments(x, x @ true)
    found = fit(exact, exact, true, torch.ones(2, 3), shift=True)
    error = squared_error(exact.centered(), found.matrix, found.constant)
    assert torch.allclose(found.matrix, true, atol=1e-9)
    assert (error <= squared_error(exact.centered(), true, torch.zeros(2, 3)) + 1e-12).all()


def test_outputs_whose_held_out_error_does_not_fall_keep_their_weights():
    torch.manual_seed(0)
    x, y = torch.randn(1, 40, 30, dtype=torch.float64), torch.randn(1, 40, 2, dtype=torch.float64)
    start = torch.zeros(1, 30, 2, dtype=torch.float64)
    held = moments(torch.randn(1, 500, 30, dtype=torch.float64), torch.zeros(1, 500, 2, dtype=torch.float64))
    found = fit(moments(x, y), held, start, torch.ones(1, 2), shift=True)
    assert not found.changed.any()
    assert torch.equal(found.matrix, start)
    assert not found.constant.any()


def test_dead_and_doubled_inputs_give_finite_weights():
    x, _, y = problem()
    x = torch.cat([x, x[..., :1], torch.zeros_like(x[..., :1])], -1)
    rows = moments(x, y)
    found = fit(rows, rows, torch.zeros(2, 8, 3, dtype=torch.float64), torch.ones(2, 3), shift=True)
    assert torch.isfinite(found.matrix).all()
    assert found.matrix.abs().max() < 10
    assert not found.matrix[:, 7].any()
    assert (found.held_after < 1e-4 * found.held_before).all()


def test_indefinite_matrices_get_a_larger_strength():
    xx = torch.diag(torch.tensor([1.0, 1.0, -1e-4], dtype=torch.float64))[None]
    found = solve_ridge(xx, torch.ones(1, 3, 1, dtype=torch.float64), 1e-6)
    assert torch.isfinite(found).all()
    assert found.any()


def test_no_information_gives_no_change():
    zero = torch.zeros(1, 3, 3, dtype=torch.float64)
    assert not solve_ridge(zero, zero[..., :1], 1e-3).any()
    assert not solve_ridge(zero * float("nan"), zero[..., :1], 1e-3).any()


def test_float32_rows_far_from_zero_keep_their_variance():
    torch.manual_seed(0)
    x = torch.randn(1, 500, 4) * 0.01 + 100
    y = x @ torch.randn(1, 4, 2)
    single, double = moments(x, y), moments(x.double(), y.double())
    assert torch.allclose(single.centered().xx, double.centered().xx, rtol=1e-3, atol=1e-7)
    assert torch.allclose(single.centered().xy, double.centered().xy, rtol=1e-2, atol=1e-6)


def test_no_rows_add_nothing():
    x, _, y = problem()
    found = moments(x, y)
    before = found.xx.clone()
    found.add_(x[:, :0], y[:, :0])
    assert torch.equal(found.xx, before)
