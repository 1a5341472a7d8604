"""Scales that are trained."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from convslim.errors import ModelError
from convslim.export import export_int8
from convslim.quantize.calibrate import calibrate_
from convslim.quantize.fake import round_learning
from convslim.quantize.learned import learn_scales_
from convslim.quantize.phase import Clock
from convslim.quantize.prepare import grids_of, prepare, weights_of

IMAGES = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_the_derivative_by_the_step_is_that_of_the_paper():
    x = torch.tensor([-9.0, -0.26, 0.1, 0.3, 7.0])
    scale = torch.tensor(0.25, requires_grad=True)
    (round_learning(x, scale, -4, 3, 12) * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])).sum().backward()
    steps = x / 0.25
    by_value = torch.where(steps < -4, -4.0, torch.where(steps > 3, 3.0, steps.round() - steps))
    expected = (by_value * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])).sum() / (12 * 3) ** 0.5
    torch.testing.assert_close(scale.grad, expected)


def test_the_derivative_by_the_value_is_1_inside_and_0_outside():
    x = torch.tensor([-9.0, -0.26, 7.0], requires_grad=True)
    round_learning(x, torch.tensor(0.25), -4, 3, 1).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 0.0]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 36, 5),
    ).eval()


def learning() -> torch.fx.GraphModule:
    simulation = prepare(network(), IMAGES[:1], clock=Clock(0, 0))
    calibrate_(simulation, IMAGES.split(16))
    return simulation


def test_nothing_changes_until_a_step_is_taken():
    simulation = learning()
    with torch.no_grad():
        before = simulation.eval()(IMAGES)
    names = learn_scales_(simulation)
    assert len(names) == 3 + len(grids_of(simulation))
    with torch.no_grad():
        torch.testing.assert_close(simulation(IMAGES), before, rtol=1e-5, atol=1e-5)
    assert list(weights_of(simulation)) == list(network().state_dict())
    with pytest.raises(ModelError, match="learned already"):
        learn_scales_(simulation)


def test_bad_steps_get_better():
    """With every scale eight times too large the outputs are coarse; training the scales alone mends them."""
    target = network()(IMAGES).detach()
    simulation = learning()
    names = learn_scales_(simulation)
    steps = [parameter for name, parameter in simulation.named_parameters() if name in names]
    with torch.no_grad():
        for step in steps:
            step.mul_(8)
    optimizer = torch.optim.Adam([{"params": [step], "lr": 0.03 * step.detach().mean().item()} for step in steps])
    errors = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (simulation.train()(IMAGES) - target).square().mean()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    assert errors[-1] < 0.5 * errors[0]


def test_the_file_has_the_learned_scales(tmp_path):
    simulation = learning()
    learn_scales_(simulation)
    with torch.no_grad():
        for quantizer in grids_of(simulation).values():
            assert quantizer.step is not None
            quantizer.step.mul_(1.3)
    report = export_int8(simulation, IMAGES, tmp_path / "net.onnx")
    assert report.error < 0.01
    again = learning()
    learn_scales_(again)
    again.load_state_dict(copy.deepcopy(simulation.state_dict()))
    with torch.no_grad():
        assert torch.equal(again.eval()(IMAGES), simulation.eval()(IMAGES))
