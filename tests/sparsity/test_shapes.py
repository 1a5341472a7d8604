"""Slopes against autograd and finite differences, the bound of the slope, and proximal operators against search."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from convslim.errors import TrainingError
from convslim.sparsity.proximal import Proximal
from convslim.sparsity.shapes import L1, SHAPES, Shape, l_half, transformed_l1
from convslim.sparsity.subgradient import Subgradient

ALL = [L1, l_half(), l_half(1e-4), l_half(0.5), transformed_l1(), transformed_l1(1.0), transformed_l1(1e-3)]
NAMES = [f"{shape.name}, slope up to {shape.steepest:.3g}" for shape in ALL]


def scales() -> nn.Parameter:
    values = torch.cat([torch.linspace(-1.5, -0.001, 40), torch.linspace(0.001, 1.5, 40)])
    return nn.Parameter(values.double())


@pytest.mark.parametrize("shape", ALL, ids=NAMES)
def test_the_subgradient_is_what_autograd_gives(shape: Shape):
    strength = torch.rand(80, dtype=torch.float64)
    expected = scales()
    (strength * shape.value(expected.abs())).sum().backward()
    found = scales()
    found.grad = torch.zeros_like(found)
    Subgradient({"w": strength}, shape).apply_gradient_({"w": found})
    torch.testing.assert_close(found.grad, expected.grad)


@pytest.mark.parametrize("shape", ALL, ids=NAMES)
def test_the_subgradient_is_the_finite_difference(shape: Shape):
    where, step = scales().detach(), 1e-6
    difference = (shape.value((where + step).abs()) - shape.value((where - step).abs())) / (2 * step)
    torch.testing.assert_close(shape.slope(where.abs()) * where.sign(), difference, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", ALL, ids=NAMES)
def test_no_slope_is_steeper_than_said(shape: Shape):
    sizes = torch.cat([torch.zeros(1), torch.logspace(-9, 2, 400)]).double()
    slopes = shape.slope(sizes)
    assert float(slopes.max()) == pytest.approx(shape.steepest)
    assert float(slopes.min()) >= 0


@pytest.mark.parametrize("epsilon", [1e-4, 1e-2, 0.3])
def test_the_square_root_is_limited_to_its_published_bound(epsilon: float):
    assert l_half(epsilon).steepest == pytest.approx(1 / (2 * epsilon**0.5))


@pytest.mark.parametrize("shape", ALL, ids=NAMES)
def test_the_proximal_operator_finds_the_minimum(shape: Shape):
    """No point of a fine grid is better, and the point itself lies between zero and the given one."""
    generator = torch.Generator().manual_seed(1)
    sizes = torch.rand(200, generator=generator, dtype=torch.float64) * 1.2
    weights = 10 ** (torch.rand(200, generator=generator, dtype=torch.float64) * 5 - 4.5)
    found = shape.shrunk(sizes, weights)
    grid = torch.linspace(0, 1.3, 20001, dtype=torch.float64)
    objective = 0.5 * (grid - sizes[:, None]) ** 2 + weights[:, None] * shape.value(grid)
    mine = 0.5 * (found - sizes) ** 2 + weights * shape.value(found)
    assert bool((mine <= objective.min(1).values + 1e-9).all())
    assert bool(((found >= 0) & (found <= sizes)).all())
    assert 0 < int((found == 0).sum()) < 200


@pytest.mark.parametrize("shape", ALL, ids=NAMES)
def test_more_weight_shrinks_more_and_none_leaves_alone(shape: Shape):
    sizes = torch.linspace(0, 1, 21, dtype=torch.float64)
    kept = shape.shrunk(sizes, torch.zeros_like(sizes))
    torch.testing.assert_close(kept, sizes)
    shrunk = [shape.shrunk(sizes, torch.full_like(sizes, weight)) for weight in (1e-4, 1e-3, 1e-2, 0.1, 1.0)]
    assert all(bool((more <= less).all()) for less, more in itertools.pairwise(shrunk))


def test_signs_and_unpenalized_entries_stay() -> None:
    parameter = nn.Parameter(torch.tensor([-0.8, 0.8, -0.8]))
    Proximal({"w": torch.tensor([0.1, 0.1, 0.0])}, l_half()).apply_proximal_({"w": parameter}, 1.0)
    found: Tensor = parameter.detach()
    assert float(found[0]) == -float(found[1]) < 0
    assert abs(float(found[1])) < 0.8
    assert float(found[2]) == pytest.approx(-0.8)


def test_shapes_by_name():
    assert {name: SHAPES[name](0.02).name for name in SHAPES} == {name: name for name in SHAPES}
    with pytest.raises(TrainingError, match="epsilon is 0"):
        l_half(0)
