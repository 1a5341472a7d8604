"""Both L1 penalties against their formulas, and the choice of scales."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convslim import models
from convslim.channels.trace import trace
from convslim.data import open_data
from convslim.errors import ModelError
from convslim.sparsity import Proximal, Subgradient, scale_strengths
from convslim.train import TrainConfig, fit

GAMMA = torch.tensor([0.5, -0.2, 0.0, 0.01])
STRENGTH = torch.tensor([0.1, 0.1, 0.1, 0.0])


def scale() -> nn.Parameter:
    parameter = nn.Parameter(GAMMA.clone())
    parameter.grad = torch.ones(4)
    return parameter


def test_subgradient_adds_the_signs():
    parameter = scale()
    penalty = Subgradient({"gamma": STRENGTH})
    penalty.apply_gradient_({"gamma": parameter})
    penalty.apply_proximal_({"gamma": parameter}, 0.5)
    assert parameter.grad is not None
    torch.testing.assert_close(parameter.grad, torch.tensor([1.1, 0.9, 1.0, 1.0]))
    assert torch.equal(parameter.detach(), GAMMA)


def test_proximal_is_the_soft_threshold():
    parameter = scale()
    penalty = Proximal({"gamma": STRENGTH})
    penalty.apply_gradient_({"gamma": parameter})
    penalty.apply_proximal_({"gamma": parameter}, 3.0)
    assert parameter.grad is not None
    assert torch.equal(parameter.grad, torch.ones(4))
    torch.testing.assert_close(parameter.detach(), torch.tensor([0.2, 0.0, 0.0, 0.01]))


def test_proximal_minimizes_its_objective():
    """prox(v) = argmin ½(x − v)² + ηλ|x|, found by a fine grid."""
    grid = torch.linspace(-1, 1, 20001)
    for value in (0.7, -0.3, 0.05):
        parameter = nn.Parameter(torch.tensor([value]))
        Proximal({"gamma": torch.tensor([0.2])}).apply_proximal_({"gamma": parameter}, 0.5)
        best = grid[(0.5 * (grid - value) ** 2 + 0.1 * grid.abs()).argmin()]
        assert float(parameter.detach()) == pytest.approx(float(best), abs=1e-4)


@pytest.mark.parametrize("kind", [Subgradient, Proximal])
def test_value_is_the_weighted_sum_of_magnitudes(kind: type[Subgradient] | type[Proximal]):
    assert kind({"gamma": STRENGTH}).value({"gamma": scale()}) == pytest.approx(0.07)


def test_only_scales_of_prunable_channels_are_pressed_on():
    model = models.create("digits_cnn")
    strengths = scale_strengths(trace(model, torch.zeros(1, 1, 8, 8)), model, 1e-3)
    norms = [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert sorted(strengths) == sorted(f"{name}.weight" for name in norms)
    assert all((strength == 1e-3).all() for strength in strengths.values())


def test_scales_of_pinned_channels_are_left_alone():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2), nn.Flatten())
    strengths = scale_strengths(trace(model, torch.zeros(1, 1, 8, 8)), model, 0.5)
    assert list(strengths) == ["1.weight"]


def test_nothing_to_press_on_is_an_error():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.Flatten())
    with pytest.raises(ModelError, match="no BatchNorm scale"):
        scale_strengths(trace(model, torch.zeros(1, 1, 8, 8)), model, 0.5)


@pytest.mark.parametrize("kind", [Subgradient, Proximal])
def test_training_under_a_penalty_shrinks_the_scales(kind: type[Subgradient] | type[Proximal]):
    source = open_data("digits")
    torch.manual_seed(0)
    model = models.create("digits_cnn")
    strengths = scale_strengths(trace(model, source.example_input()), model, 0.5)
    config = TrainConfig(epochs=2, batch_size=64, lr=0.05, steps_per_epoch=8, threads=1, evaluate_every=9)
    sparse, plain = (fit(model, source, config, penalty=penalty, quiet=True) for penalty in (kind(strengths), None))
    total = {
        name: sum(float(result.model.get_parameter(scale).detach().abs().sum()) for scale in strengths)
        for name, result in (("sparse", sparse), ("plain", plain))
    }
    assert total["sparse"] < 0.9 * total["plain"]
    assert sparse.history[-1].penalty is not None
    assert plain.history[-1].penalty is None
