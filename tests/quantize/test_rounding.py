"""Weights rounded together leave less error than weights rounded each by itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from convslim.quantize import quantize
from convslim.quantize.grid import WEIGHT_MAX
from convslim.quantize.rounding import TOGETHER, rounded


def error(gram: Tensor, difference: Tensor) -> float:
    return float((difference * (gram @ difference)).sum())


@pytest.mark.parametrize("num_inputs", [3, TOGETHER, 2 * TOGETHER + 5])
def test_correlated_inputs_are_worth_it(num_inputs: int):
    torch.manual_seed(0)
    x = torch.randn(400, num_inputs, dtype=torch.float64).cumsum(1)  # neighbors are alike
    gram = (x.T @ x)[None]
    weights = 30 * torch.randn(1, num_inputs, 8, dtype=torch.float64)
    found = rounded(gram, weights)
    assert torch.equal(found, found.round())
    assert error(gram, found - weights) < 0.8 * error(gram, weights.round() - weights)


def test_independent_inputs_are_rounded_each_by_itself():
    weights = 40 * torch.randn(2, 7, 5)
    assert torch.equal(rounded(torch.eye(7).expand(2, 7, 7), weights), weights.round())


def test_integers_stay():
    weights = torch.randint(-WEIGHT_MAX, WEIGHT_MAX + 1, (1, 9, 4)).float()
    x = torch.randn(50, 9)
    assert torch.equal(rounded((x.T @ x)[None], weights), weights)


def test_nothing_leaves_the_grid():
    x = torch.randn(200, 6).cumsum(1)
    found = rounded((x.T @ x)[None], torch.full((1, 6, 3), 126.9) + torch.rand(1, 6, 3))
    assert float(found.abs().max()) <= WEIGHT_MAX


def test_inputs_that_are_always_zero():
    weights = torch.randn(1, 4, 2)
    assert rounded(torch.zeros(1, 4, 4), weights).isfinite().all()


def network(bias: bool) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=bias),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, groups=16, padding=2, dilation=2),
        nn.ReLU(),
        nn.Conv2d(16, 12, (2, 1), stride=2, groups=2, bias=bias),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * 16, 5, bias=bias),
    ).eval()


SMOOTH = torch.nn.functional.interpolate(
    torch.randn(128, 3, 3, 3, generator=torch.Generator().manual_seed(2)), size=8, mode="bilinear"
)
"""Images whose neighboring pixels are alike, as in photographs."""


@pytest.mark.parametrize("bias", [False, True])
def test_layers_of_all_kinds_err_less(bias: bool):
    net = network(bias)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    plain, together = (quantize(net, SMOOTH, rounding=each) for each in ("nearest", "reconstruct"))
    assert list(together.rounded) == ["0", "3", "5", "8"]
    assert plain.rounded == {}
    assert max(together.rounded.values()) <= 1.05
    assert min(together.rounded.values()) < 0.7
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_means_of_the_outputs_stay():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).eval()
    images = SMOOTH + 1
    done = quantize(net, images, rounding="reconstruct")
    with torch.no_grad():
        drift = (done.model(images) - net(images)).mean((0, 2, 3)).abs().max()
        spread = net(images).std()
    assert drift < 0.005 * spread
