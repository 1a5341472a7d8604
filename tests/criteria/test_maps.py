"""Criteria of single maps against their formulas, computed the slow way."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from convslim.criteria.activations import ActivationCriterion, Over
from convslim.criteria.apoz import apoz
from convslim.criteria.chip import chip
from convslim.criteria.hrank import hrank
from convslim.criteria.mean_activation import mean_activation
from convslim.errors import PlanError


def found(criterion: ActivationCriterion, *places: Tensor) -> Tensor:
    values = criterion.function(None, [criterion.look(maps) for maps in places])  # type: ignore[arg-type]
    assert values is not None
    return values


def maps_of(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_hrank_is_the_mean_rank() -> None:
    maps = torch.stack([maps_of(6, rank) @ maps_of(rank, 7, seed=1) for rank in (1, 2, 3)])
    maps = torch.stack([maps, maps.flip(0)])
    maps[0, 1] = 0
    assert found(hrank(), maps).tolist() == [2, 1, 2]


def test_hrank_of_other_shapes() -> None:
    assert found(hrank(), torch.tensor([[1.0, 0.0], [2.0, 0.0]])).tolist() == [1, 0]
    assert found(hrank(), torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])).tolist() == [1, 0]
    assert found(hrank(), torch.eye(3).expand(1, 2, 4, 3, 3)).tolist() == [12, 12]


def slow_chip(maps: Tensor) -> Tensor:
    rows = maps.flatten(2).double()
    whole = torch.linalg.matrix_norm(rows, "nuc")
    lost = []
    for channel in range(rows.shape[1]):
        masked = rows.clone()
        masked[:, channel] = 0
        lost.append((whole - torch.linalg.matrix_norm(masked, "nuc")).mean())
    return torch.stack(lost)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 30), st.floats(-4, 4))
def test_chip_is_the_loss_of_nuclear_norm(seed: int, channels: int, positions: int, size: float) -> None:
    maps = maps_of(3, channels, positions, seed=seed) * 10**size
    atol = 1e-5 * float(torch.linalg.matrix_norm(maps.double(), 2).max())
    torch.testing.assert_close(found(chip(), maps), slow_chip(maps), rtol=0, atol=atol)


def test_chip_of_dead_repeated_and_distinct_channels() -> None:
    maps = maps_of(4, 6, 5, 5)
    maps[:, 0] = 0
    maps[:, 2] = maps[:, 1]
    values = found(chip(), maps)
    torch.testing.assert_close(values, slow_chip(maps), rtol=1e-4, atol=1e-5)
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert values[1] < 0.6 * values[3:].min()
    assert found(chip(), torch.zeros(2, 3, 4)).tolist() == [0, 0, 0]


def test_apoz_and_mean_activation() -> None:
    maps = maps_of(4, 3, 5, 5).relu()
    maps[:, 1] = 0
    torch.testing.assert_close(found(apoz(), maps), (maps > 0).double().mean((0, 2, 3)))
    torch.testing.assert_close(found(mean_activation(), maps), maps.double().mean((0, 2, 3)))
    assert found(mean_activation(), -maps)[0] > 0


@pytest.mark.parametrize("over", ["mean", "sum", "max"])
@pytest.mark.parametrize("make", [hrank, chip, apoz, mean_activation])
def test_places_are_combined(make: type, over: Over) -> None:
    places = [maps_of(3, 4, 5, 5, seed=seed).relu() for seed in (1, 2)]
    expected = getattr(np, over)([found(make(), maps).numpy() for maps in places], axis=0)
    np.testing.assert_allclose(found(make(over), *places).numpy(), expected)
    with pytest.raises(PlanError, match="over is 'median'"):
        make("median")
