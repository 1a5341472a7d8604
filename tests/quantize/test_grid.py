"""Grids against an oracle written in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from convslim.quantize.fake import fake_quantize
from convslim.quantize.grid import Grid, affine_grid, snap, symmetric_scale, to_integers, weight_integers

REALS = st.floats(-1e4, 1e4, width=32)
SCALES = st.floats(2**-10, 2**6, width=32)


def oracle(x: np.ndarray, scale: np.float32, zero_point: int) -> np.ndarray:
    """QuantizeLinear as ONNX defines it: round half to even, then add the zero point, then saturate."""
    return np.clip(np.rint(x / scale) + zero_point, 0, 255).astype(np.uint8)


@settings(max_examples=200, deadline=None)
@given(arrays(np.float32, 20, elements=REALS), SCALES, st.integers(0, 255))
def test_rounding_is_that_of_onnx(x, scale, zero_point):
    grid = Grid(torch.tensor(scale, dtype=torch.float32), torch.tensor(float(zero_point)))
    expected = oracle(x, np.float32(scale), zero_point)
    np.testing.assert_array_equal(to_integers(torch.from_numpy(x), grid).numpy(), expected)
    real = (expected.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
    np.testing.assert_array_equal(snap(torch.from_numpy(x), grid).numpy(), real)


@settings(max_examples=200, deadline=None)
@given(REALS, REALS)
def test_every_range_holds_zero_exactly_and_itself_to_a_step(one, other):
    low, high = sorted((one, other))
    grid = affine_grid(torch.tensor(low), torch.tensor(high))
    assert float(snap(torch.zeros(1), grid)) == 0.0
    assert float(grid.zero_point) == int(grid.zero_point)
    assert 0 <= float(grid.zero_point) <= 255
    step = float(grid.scale)
    assert float(grid.low) <= min(low, 0) + step / 2 * 1.001
    assert float(grid.high) >= max(high, 0) - step / 2 * 1.001


@pytest.mark.parametrize("end", [0.0, 1e-42])
def test_an_empty_range_gets_a_grid(end):
    assert affine_grid(torch.tensor(end), torch.tensor(end)).scale == 1
    assert symmetric_scale(torch.tensor([end])) == 1


@settings(max_examples=100, deadline=None)
@given(arrays(np.float32, (3, 4), elements=REALS))
def test_weights_keep_their_largest_value_and_half_a_step(weight):
    w = torch.from_numpy(weight)
    scale = symmetric_scale(w.abs().amax(1))
    integers = weight_integers(w, scale)
    np.testing.assert_array_equal(integers.numpy(), np.clip(np.rint(weight / scale.numpy()[:, None]), -127, 127))
    largest = w.abs().amax(1)
    assert bool((integers.abs().amax(1)[largest > 1e-30] == 127).all())
    assert bool(((integers * scale[:, None] - w).abs() <= scale[:, None] * 0.501).all())


@settings(max_examples=100, deadline=None)
@given(arrays(np.float32, 20, elements=st.floats(-40, 40, width=32)), st.integers(0, 255))
def test_gradient_is_one_inside_and_zero_outside(values, zero_point):
    grid = Grid(torch.tensor(0.1), torch.tensor(float(zero_point)))
    x = torch.from_numpy(values).requires_grad_()
    y = fake_quantize(x, grid)
    y.backward(torch.full_like(x, 3.0))
    unclamped = np.rint(values / np.float32(0.1)) + zero_point
    edge = np.abs(np.abs(unclamped - 127.5) - 128) < 0.6  # within rounding of the very ends
    expected = 3.0 * ((unclamped >= 0) & (unclamped <= 255))
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy()[~edge], expected[~edge])
    torch.testing.assert_close(y.detach(), snap(torch.from_numpy(values), grid), rtol=0, atol=0)


def test_gradient_and_values_are_those_of_pytorchs_own_kernel():
    x = torch.linspace(-5, 30, 4001).add_(1e-4).requires_grad_()
    twin = x.detach().clone().requires_grad_()
    ours = fake_quantize(x, Grid(torch.tensor(0.1), torch.tensor(20.0)))
    theirs = torch.fake_quantize_per_tensor_affine(twin, 0.1, 20, 0, 255)
    torch.testing.assert_close(ours, theirs)
    ours.sum().backward()
    theirs.sum().backward()
    assert x.grad is not None
    assert twin.grad is not None
    assert int((x.grad != twin.grad).sum()) <= 2  # the two ends, where x / 0.1 and x * (1 / 0.1) round apart
    assert 0 < float(x.grad.mean()) < 1


def test_bf16_is_rounded_in_float32():
    x = torch.randn(1000).bfloat16()
    grid = Grid(torch.tensor(0.013), torch.tensor(128.0))
    assert snap(x, grid).dtype == torch.bfloat16
    assert torch.equal(snap(x, grid), snap(x.float(), grid).bfloat16())
