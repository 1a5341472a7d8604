"""Ranges of batches."""

from __future__ import annotations

import pytest
import torch

from convslim.quantize.grid import affine_grid, snap
from convslim.quantize.observers import BINS, OBSERVERS, MinMax, Percentile, SquaredError, extremes


def test_extremes_of_channels_last_images():
    x = torch.randn(4, 3, 5, 7).to(memory_format=torch.channels_last)
    assert extremes(x) == (x.min(), x.max())
    assert extremes(x.bfloat16())[0].dtype == torch.float32


def test_moving_average():
    observer = MinMax(momentum=0.25)
    observer(torch.tensor([-1.0, 2.0]))
    observer(torch.tensor([-5.0, 6.0]))
    assert [float(end) for end in observer.range()] == [-2.0, 3.0]


@pytest.mark.parametrize("name", OBSERVERS)
def test_laws_of_observers(name):
    torch.manual_seed(1)
    observer = OBSERVERS[name]()
    for scale in (0.1, 3.0, 1.0):
        observer(torch.randn(2, 3, 8, 8) * scale)
    low, high = observer.range()
    assert int(observer.seen) == 3
    assert -12 < float(low) < -2
    assert 2 < float(high) < 12
    other = OBSERVERS[name]()
    other.load_state_dict(observer.state_dict())
    assert [float(end) for end in other.range()] == [float(low), float(high)]


@pytest.mark.parametrize("name", OBSERVERS)
def test_zeros_only(name):
    observer = OBSERVERS[name]()
    observer(torch.zeros(3, 4))
    assert [float(end) for end in observer.range()] == [0.0, 0.0]
    observer(torch.ones(1))
    assert float(observer.range()[1]) == pytest.approx(1, rel=1e-3)


def test_counts_survive_a_growing_range():
    observer = Percentile()
    batches = [torch.randn(1000), torch.randn(1000) * 50, torch.randn(1000) * 0.01]
    for batch in batches:
        observer(batch)
    assert float(observer.counts.sum()) == 3000
    below = float(observer.counts[: BINS // 2].sum())
    assert below == sum(int((batch < 0).sum()) for batch in batches)


def test_percentile_of_one_sided_values_keeps_zero():
    observer = Percentile(0.9)
    observer(torch.linspace(0, 1, 10_001))
    low, high = observer.range()
    assert float(low) < 0.2
    assert float(high) == pytest.approx(0.9, abs=1e-3)


def test_squared_error_is_not_above_that_of_the_extremes():
    torch.manual_seed(2)
    x = torch.cat([torch.randn(200_000), torch.tensor([12.0])])
    best, full = SquaredError(), MinMax()
    best(x)
    full(x)
    errors = [float((x - snap(x, affine_grid(*observer.range()))).square().sum()) for observer in (best, full)]
    assert errors[0] < 0.95 * errors[1]
