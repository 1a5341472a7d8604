"""Strength over time, and the controller that reaches a wished sparsity without emptying a layer."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

import convslim
from convslim.data import DataSource, open_data
from convslim.errors import ModelError, TrainingError
from convslim.sparsity import gate_strengths, scale_strengths
from convslim.sparsity.controller import Aim, Controller, pressed
from convslim.sparsity.paced import PacedPenalty
from convslim.sparsity.ramp import ramp
from convslim.sparsity.shapes import L1, SHAPES, ShapeName, l_half
from convslim.train import FitResult, TrainConfig, fit
from convslim.train.scale_observer import ScaleObserver


@pytest.fixture(scope="module")
def digits() -> DataSource:
    return open_data("digits")


@pytest.fixture(scope="module")
def trained(digits: DataSource) -> nn.Module:
    torch.manual_seed(0)
    model = convslim.models.create("digits_cnn")
    return fit(
        model, digits, TrainConfig(epochs=2, batch_size=64, lr=0.05, threads=1, evaluate_every=9), quiet=True
    ).model


def steered(trained: nn.Module, digits: DataSource, shape: ShapeName, share: float) -> PacedPenalty:
    strengths = scale_strengths(convslim.trace(trained, digits.example_input()), trained, 1e-3)
    chosen = SHAPES[shape](1e-2)
    return PacedPenalty(strengths, chosen, "proximal", controller=Controller(Aim(share), chosen))


def sparsified(trained: nn.Module, digits: DataSource, penalty: PacedPenalty, epochs: int) -> FitResult:
    config = TrainConfig(epochs=epochs, batch_size=64, lr=0.05, threads=1, evaluate_every=99)
    return fit(trained, digits, config, penalty=penalty, observer=ScaleObserver(penalty, 0.01), quiet=True)


@pytest.mark.parametrize(("shape", "share"), [("l1", 0.3), ("l1", 0.8), ("l_half", 0.5), ("transformed_l1", 0.5)])
def test_a_wished_sparsity_is_reached_and_no_layer_dies(
    trained: nn.Module, digits: DataSource, shape: ShapeName, share: float
):
    penalty = steered(trained, digits, shape, share)
    result = sparsified(trained, digits, penalty, 8)
    scales = dict(result.model.named_parameters())
    small = {name: float((scales[name].abs() < 0.01).double().mean()) for name in penalty.strengths}
    assert float((penalty.sizes(scales) < 0.01).double().mean()) == pytest.approx(share, abs=0.03)
    assert max(small.values()) <= 0.9
    facts = result.history[-1].facts
    assert facts is not None
    assert facts["forecast_below"] == pytest.approx(share * facts["scales"], rel=0.06)
    assert facts["scales_below"] == int((penalty.sizes(scales) < 0.01).sum())


def test_a_training_that_goes_on_is_the_same_training(trained: nn.Module, digits: DataSource, tmp_path: Path):
    config = TrainConfig(epochs=3, batch_size=64, lr=0.05, threads=1, evaluate_every=99, steps_per_epoch=6)
    whole = fit(trained, digits, config, penalty=steered(trained, digits, "l_half", 0.5), quiet=True)

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(
            trained,
            digits,
            config,
            penalty=steered(trained, digits, "l_half", 0.5),
            quiet=True,
            out=tmp_path,
            on_epoch=stop,
        )
    again = steered(trained, digits, "l_half", 0.5)
    resumed = fit(trained, digits, config, penalty=again, quiet=True, out=tmp_path, resume=True)
    expected = whole.model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.model.state_dict().items())


def test_the_multiple_grows_by_a_quarter_of_what_it_has_been_at_most():
    generator = torch.Generator().manual_seed(0)
    controller, most = Controller(Aim(0.5), L1), 1.0
    for step in range(200):
        controller.step_(torch.rand(50, generator=generator), 1e-3, 0.05, step / 200)
        assert 1e-3 <= controller.multiple <= 1.25 * most + 1e-9
        most = max(most, controller.multiple)


def test_channels_that_are_zero_already_do_not_hold_the_others_up():
    """As in a pretrained ResNet-56, of whose scales a twentieth is next to zero."""
    scales = {"w": torch.cat([torch.full((50,), 1e-3), torch.linspace(0.2, 0.6, 950)])}
    shape, steps = l_half(), 200
    penalty = PacedPenalty({"w": torch.full((1000,), 1e-3)}, shape, "proximal", controller=Controller(Aim(0.3), shape))
    levels = []
    for step in range(steps):
        lr = 0.005 * (1 + math.cos(math.pi * step / steps))
        penalty.pace_(scales, step / steps, lr)
        penalty.apply_proximal_(scales, lr)
        levels.append(float(torch.quantile(scales["w"], 0.3)))
    assert int((scales["w"] < 0.01).sum()) == pytest.approx(300, abs=15)
    falls = [before - after for before, after in pairwise(levels)]
    assert max(falls) < 0.15 * levels[0]  # in many steps, not at once


def test_a_state_goes_through_json_numbers():
    first, second = Controller(Aim(0.5)), Controller(Aim(0.5))
    second.restore_(first.state())
    assert math.isnan(second.start)
    first.step_(torch.rand(10), 1e-3, 0.05, 0.0)
    first.step_(torch.rand(10), 1e-3, 0.05, 0.1)
    second.restore_(first.state())
    assert second == first


def test_only_the_smallest_are_pressed_on_and_some_of_every_layer_spared():
    scales = {"a": torch.tensor([0.1, 0.2, -0.3, 0.4]), "b": torch.tensor([1.0, 2.0, 3.0, 4.0])}
    strengths = {"a": torch.ones(4), "b": torch.tensor([1.0, 1.0, 1.0, 0.0])}
    found = pressed(scales, strengths, 1.0, 0.5)
    assert found["a"].tolist() == [1, 1, 0, 0]
    assert found["b"].tolist() == [1, 0, 0, 0]
    assert pressed(scales, strengths, 0.4, 0.0)["b"].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_a_ramp_rises_to_its_length(kind: str):
    parts = [ramp(kind, done / 20, 0.5) for done in range(21)]  # type: ignore[arg-type]
    assert parts[0] == 0
    assert parts == sorted(parts)
    assert parts[10:] == [1.0] * 11
    assert ramp("constant", 0.0, 0.5) == ramp(kind, 0.0, 0.0) == 1.0  # type: ignore[arg-type]


def test_a_ramp_scales_the_gradient():
    parameter = nn.Parameter(torch.tensor([0.5, -0.5]))
    parameter.grad = torch.zeros(2)
    penalty = PacedPenalty({"w": torch.ones(2)}, ramp="linear")
    penalty.pace_({"w": parameter}, 0.25, 0.1)
    penalty.apply_gradient_({"w": parameter})
    assert parameter.grad.tolist() == [0.5, -0.5]
    assert penalty.value({"w": parameter}) == pytest.approx(0.5)
    assert "λ × 0.5" in ScaleObserver(penalty, 0.6).note(nn.ParameterDict({"w": parameter}))


def test_what_makes_no_sense_is_refused():
    with pytest.raises(TrainingError, match="makes no sense"):
        Aim(1.0)
    with pytest.raises(TrainingError, match="cannot be reached"):
        Aim(0.95)
    with pytest.raises(TrainingError, match="method 'proximal'"):
        PacedPenalty({"w": torch.ones(2)}, controller=Controller(Aim(0.5)))


def test_any_parameter_with_a_number_per_channel_is_a_gate():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 6, 3), nn.GroupNorm(6, 6)
            self.gamma = nn.Parameter(torch.ones(6, 1, 1))
            self.last = nn.Conv2d(6, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.norm(self.conv(x)) * self.gamma)

    model = Scaled()
    graph = convslim.trace(model, torch.zeros(1, 1, 8, 8))
    found = gate_strengths(graph, ["gamma", "norm.*"], 0.5)
    assert {name: tuple(strength.shape) for name, strength in found.items()} == {
        "gamma": (6, 1, 1),
        "norm.weight": (6,),
    }
    assert all(bool((strength == 0.5).all()) for strength in found.values())
    with pytest.raises(ModelError, match=r"'gama'.*gamma"):
        gate_strengths(graph, ["gama"], 0.5)
    with pytest.raises(ModelError, match=r"'conv\.bias'"):
        gate_strengths(graph, ["conv.bias"], 0.5)
    halves = {"gamma": pressed(dict(model.named_parameters()), {"gamma": found["gamma"]}, 1.0, 0.5)["gamma"]}
    assert halves["gamma"].shape == (6, 1, 1)
    assert int((halves["gamma"] > 0).sum()) == 3
