"""How coefficients move: budgets are met from above, floors hold, and a channel that was cut can come back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import convslim
from convslim.errors import BudgetError
from convslim.measure.cost import CostModel
from convslim.sparsity.mask import MaskedNetwork
from convslim.sparsity.mask_descent import DescentRule, MaskDescent
from convslim.sparsity.mask_places import mask_places
from convslim.sparsity.mask_steering import BudgetSteering


def setting() -> tuple[MaskedNetwork, convslim.ChannelGraph]:
    model = convslim.models.create("digits_cnn")
    graph = convslim.trace(model, torch.zeros(1, 1, 8, 8))
    places = mask_places(graph)
    return MaskedNetwork(model, places, torch.ones(places.total)), graph


def rule(masked: MaskedNetwork, **changes: object) -> DescentRule:
    options = {"rate": 0.1, "peak": 0.5, "strength": 1.0, "momentum": 0.0, "nonnegative": True}
    return DescentRule(**{**options, "floors": tuple(1 for _ in masked.places.groups), **changes})  # type: ignore[arg-type]


def step(descent: MaskDescent, masked: MaskedNetwork, gradient: torch.Tensor, lr: float = 0.5) -> None:
    tensors = {**dict(masked.named_parameters()), **dict(masked.named_buffers())}
    masked.point.grad = gradient
    descent.apply_gradient_(tensors)
    assert dict(masked.named_parameters())["point"].grad is None  # the optimizer of the weights does not move it
    descent.apply_proximal_(tensors, lr)


def test_one_step_by_hand():
    masked, _ = setting()
    descent = MaskDescent(masked.places, rule(masked, strength=2.0), None)
    gradient = torch.zeros(masked.places.total)
    gradient[:4] = torch.tensor([1.0, -1.0, 9.0, -2.0])
    step(descent, masked, gradient, lr=0.25)  # half the peak: η = 0.05, η·λ = 0.1
    assert masked.settled[:4].tolist() == pytest.approx([0.85, 0.95, 0.45, 1.1])  # the largest is not pressed on
    assert float(masked.strength) == pytest.approx(2.0)


def test_a_channel_that_was_cut_comes_back():
    masked, _ = setting()
    descent = MaskDescent(masked.places, rule(masked), None)
    with torch.no_grad():
        masked.point[:4], masked.settled[:4] = 0, 0
    gradient = torch.zeros(masked.places.total)
    gradient[:4] = 100 * torch.tensor([-5.0, -0.5, 0.0, 5.0])  # a hundredth of it is the average after one batch
    step(descent, masked, gradient)
    assert masked.settled[:4].tolist() == pytest.approx([0.1 * (5.0 - 1.0), 0, 0, 0])
    assert masked.point[0] > 0


def test_a_dead_channel_comes_back_in_training():
    """One channel carries what is asked for; it was cut, and the loss brings it back."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 1, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 1, 1))
    nn.init.constant_(net[3].weight, 1.0)
    places = mask_places(convslim.trace(net, torch.zeros(1, 1, 4, 4)))
    masked = MaskedNetwork(net, places, torch.tensor([0.0, 1.0, 1.0])).train()
    descent = MaskDescent(places, rule(masked, strength=0.01, rate=0.5), None)
    tensors = {**dict(masked.named_parameters()), **dict(masked.named_buffers())}
    images = torch.randn(8, 1, 4, 4)
    with torch.no_grad():
        aim = 2 * net[1](net[0](images))[:, :1].relu()
        net[0].weight[1:] = -net[0].weight[:1]  # the others show the other side
    for _ in range(150):
        masked.zero_grad()
        (masked(images) - aim).square().mean().backward()
        descent.apply_gradient_(tensors)
        descent.apply_proximal_(tensors, 0.5)
    assert masked.settled[0] > 0.5


def test_coefficients_may_change_their_sign_where_that_is_allowed():
    masked, _ = setting()
    gradient = torch.full((masked.places.total,), 30.0)
    step(MaskDescent(masked.places, rule(masked, nonnegative=False), None), masked, gradient)
    assert masked.settled.max() == pytest.approx(-(3.0 - 1.0 - 0.1)) or masked.settled.min() < 0


def test_floors_hold_under_any_pressure():
    masked, _ = setting()
    floors = tuple(range(1, 1 + len(masked.places.groups)))
    descent = MaskDescent(masked.places, rule(masked, strength=100.0, floors=floors), None)
    step(descent, masked, 0.01 * torch.randn(masked.places.total))
    assert tuple(masked.live().values()) == floors


def test_pressure_is_what_the_budget_needs():
    masked, graph = setting()
    steering = BudgetSteering(graph, masked.places, {"macs": 0.5}, ramp_steps=4)
    descent = MaskDescent(masked.places, rule(masked, strength=1e3), steering)
    whole = CostModel(graph).macs()
    shares = []
    for _ in range(6):
        step(descent, masked, -0.01 * torch.rand(masked.places.total))
        shares.append(CostModel(graph).macs(masked.live()) / whole)
        assert steering.share((masked.settled != 0).numpy()) == pytest.approx(shares[-1])
    allowed = [1 - 0.5 * min(number / 4, 1) for number in range(1, 7)]
    assert all(most - 0.05 < share <= most for share, most in zip(shares, allowed, strict=True))
    assert steering.met((masked.settled != 0).numpy())


def test_no_pressure_where_the_budget_is_met():
    masked, graph = setting()
    steering = BudgetSteering(graph, masked.places, {"macs": 0.9, "params": 1.0}, ramp_steps=1)
    with torch.no_grad():
        for part in masked.places.slices().values():
            masked.point[part.start : part.start + 8], masked.settled[part.start : part.start + 8] = 0, 0
    step(MaskDescent(masked.places, rule(masked), steering), masked, torch.zeros(masked.places.total))
    assert float(masked.strength) == 0
    assert set(masked.settled.tolist()) == {0.0, 1.0}


def test_pressure_has_a_bound_that_grows_while_it_is_not_enough():
    masked, graph = setting()
    steering = BudgetSteering(graph, masked.places, {"macs": 0.1}, ramp_steps=1)
    descent = MaskDescent(masked.places, rule(masked, strength=2.0), steering)
    step(descent, masked, torch.zeros(masked.places.total))
    assert float(masked.strength) == pytest.approx(2.0)
    assert masked.settled.min() == pytest.approx(0.8)
    step(descent, masked, torch.zeros(masked.places.total))
    assert float(masked.strength) == pytest.approx(2.0 * 1.03)
    assert masked.settled.min() == pytest.approx(0.8 - 0.2 * 1.03)


def test_the_smallest_threshold_that_suffices_is_taken():
    masked, graph = setting()
    steering = BudgetSteering(graph, masked.places, {"params": 0.7}, ramp_steps=1)
    size = np.random.default_rng(0).random(masked.places.total)
    exempt = np.zeros(masked.places.total, bool)
    found = steering.threshold(size, exempt, 1, 10.0)
    below = max(value for value in size if value < found)
    limit = 0.7 * CostModel(graph).params()
    assert steering.cost_of(size > found)[1] <= limit < steering.cost_of(size > below)[1]


def test_an_unknown_budget_is_named():
    masked, graph = setting()
    with pytest.raises(BudgetError, match=r"no budget 'mac'; known are macs, params\. Did you mean 'macs'"):
        BudgetSteering(graph, masked.places, {"mac": 0.5}, 1)
