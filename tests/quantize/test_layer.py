"""Folding BatchNorm: exact in evaluation mode, one convolution in training mode."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from convslim.quantize.fake import UNLIMITED, ActivationQuantizer
from convslim.quantize.grid import affine_grid, per_channel, snap
from convslim.quantize.layer import QuantizedLayer
from convslim.quantize.observers import MinMax
from convslim.quantize.phase import PLAIN, QUANTIZED, Clock

TRAINING = Clock(freeze=1)()


def lived(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """A BatchNorm with scales of both signs, one of them zero."""
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(-1.5, 2, norm.num_features))
        norm.weight[1] = 0
        norm.bias.normal_()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.1, 3)
    return norm.eval()


def quantizer(low: float = -3.0, high: float = 3.0) -> ActivationQuantizer:
    made = ActivationQuantizer("x", [MinMax()], [UNLIMITED])
    made.observers[0](torch.tensor([low, high]))
    return made


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_folding_multiplies_scales_and_leaves_integers(groups, bias):
    layer = nn.Conv2d(4, 8, 3, padding=1, groups=groups, bias=bias)
    norm, source, own = lived(nn.BatchNorm2d(8)), quantizer(), QuantizedLayer(8).eval()
    x = snap(torch.randn(2, 4, 6, 6), source.grid())
    rounded = copy.deepcopy(layer)
    with torch.no_grad():
        rounded.weight.copy_(own.rounded(layer.weight))
    expected = norm(rounded(x))
    found = own(x, layer, norm, source, QUANTIZED)
    steps = per_channel(own.fold(layer, norm, source.grid()).bias_scale, expected[0])
    assert bool(((found - expected).abs() <= 0.5 * steps + 1e-5).all())  # the bias is rounded to its steps
    torch.testing.assert_close(own(x, layer, norm, source, PLAIN), norm(layer(x)))


def test_training_is_batchnorm_with_batch_statistics_of_rounded_weights():
    layer, norm, own = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), QuantizedLayer(8)
    x = torch.randn(4, 3, 8, 8)
    twin = copy.deepcopy(norm)
    y = own(x, layer, norm, quantizer(), TRAINING)
    torch.testing.assert_close(y, twin(nn.functional.conv2d(x, own.rounded(layer.weight), layer.bias)))
    torch.testing.assert_close(norm.running_mean, twin.running_mean)
    y.square().sum().backward()
    assert layer.weight.grad is not None
    assert float(layer.weight.grad.abs().min()) > 0


def test_frozen_training_uses_and_keeps_running_statistics():
    layer, norm, own = nn.Conv2d(3, 8, 3), lived(nn.BatchNorm2d(8)).train(), QuantizedLayer(8).train()
    before = copy.deepcopy(norm.state_dict())
    x, source = snap(torch.randn(4, 3, 8, 8), quantizer().grid()), quantizer()
    trained = own(x, layer, norm, source, QUANTIZED)
    assert trained.requires_grad
    torch.testing.assert_close(trained, own.eval()(x, layer, norm, source, QUANTIZED), rtol=1e-3, atol=1e-4)
    assert all(torch.equal(before[name], tensor) for name, tensor in norm.state_dict().items())


def test_fixed_scales_clip_weights_and_their_gradients():
    own, weight = QuantizedLayer(2), torch.tensor([[1.0, 0.5], [3.0, -1.0]], requires_grad=True)
    own.fix_(torch.tensor([0.5 / 127, 3 / 127]))
    own.rounded(weight).sum().backward()
    assert float(own.rounded(weight)[0, 0].detach()) == pytest.approx(0.5)
    assert weight.grad is not None
    assert weight.grad[0, 0] == 0
    assert weight.grad[1, 1] == 1


def test_bias_of_a_dead_channel_stays_an_integer():
    layer, norm, source = nn.Conv2d(3, 4, 3), lived(nn.BatchNorm2d(4)), quantizer()
    with torch.no_grad():
        layer.weight[0] *= 1e-12
        norm.bias[0] = 5.0
    folded = QuantizedLayer(4).fold(layer, norm, source.grid())
    assert folded.bias is not None
    assert int(folded.bias.abs().max()) <= 2**30
    real = folded.bias.double() * folded.bias_scale
    with torch.no_grad():
        assert float(real[0]) == pytest.approx(float(norm(layer(torch.zeros(1, 3, 3, 3)))[0, 0]), rel=1e-4)
    assert folded.weight[1].abs().max() == 0  # its scale in BatchNorm is zero


def test_linear_layers_on_any_number_of_dimensions():
    layer, source, own = nn.Linear(6, 5), quantizer(), QuantizedLayer(5).eval()
    x = snap(torch.randn(2, 3, 6), source.grid())
    expected = nn.functional.linear(x, own.rounded(layer.weight), layer.bias)
    torch.testing.assert_close(own(x, layer, None, source, QUANTIZED), expected, rtol=0, atol=1e-3)
    assert affine_grid(torch.tensor(-3.0), torch.tensor(3.0)) == source.grid()
