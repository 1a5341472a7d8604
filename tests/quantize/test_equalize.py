"""Equalized networks compute what they did, and their channels have equal ranges."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convslim.quantize.calibrate import evaluating
from convslim.quantize.equalize import equalize_
from convslim.quantize.phase import PLAIN
from convslim.quantize.prepare import prepare
from convslim.quantize.ptq import quantize


def uneven(activation: nn.Module) -> nn.Sequential:
    """Channels behind the first layers differ by a factor of up to a thousand, which the readers take back."""
    torch.manual_seed(0)
    first, depthwise = nn.Conv2d(3, 16, 3, bias=False), nn.Conv2d(16, 16, 3, groups=16)
    norms = nn.BatchNorm2d(16), nn.BatchNorm2d(16)
    for norm in norms:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
        nn.init.normal_(norm.bias)
    scale = torch.logspace(-1.5, 1.5, 16)
    with torch.no_grad():
        norms[0].weight.mul_(scale)
        norms[0].bias.mul_(scale)
        depthwise.weight.div_(scale[:, None, None, None])
    behind = nn.Conv2d(16, 8, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5)
    net = nn.Sequential(first, norms[0], activation, depthwise, norms[1], nn.ReLU(), *behind)
    return net.eval()


IMAGES = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("activation", "pairs"), [(nn.ReLU(), (("0", "3"), ("3", "6"))), (nn.ReLU6(), (("3", "6"),))])
def test_the_function_stays_and_pairs_are_told(activation, pairs):
    net = uneven(activation)
    simulation = prepare(net, IMAGES[:1])
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert equalize_(simulation) == pairs
    with evaluating(simulation, PLAIN), torch.no_grad():
        found = simulation(IMAGES)
    with torch.no_grad():
        expected = net(IMAGES)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_channels_get_equal_shares_of_the_integers():
    plain, equal = (quantize(uneven(nn.ReLU()), IMAGES, ranges="minmax", equalize=each) for each in (False, True))
    assert equal.equalized == (("0", "3"), ("3", "6"))
    assert plain.equalized == ()
    assert equal.noise["9"] > plain.noise["9"] + 3  # decibels at the last layer
