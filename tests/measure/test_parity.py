"""Parity against its definition."""

import pytest
import torch
from torch import nn

from convslim.errors import DataError, ModelError
from convslim.measure.parity import parity


def test_agreement_divergence_and_error():
    torch.manual_seed(0)
    first, second, images = nn.Linear(4, 3), nn.Linear(4, 3), torch.randn(50, 4)
    found = parity(first, second, images.split(20))
    with torch.no_grad():
        left, right = first(images).double(), second(images).double()
    assert found.num_images == 50
    assert found.agreement == pytest.approx(float((left.argmax(1) == right.argmax(1)).double().mean()))
    target = nn.functional.kl_div(right.log_softmax(1), left.log_softmax(1), reduction="batchmean", log_target=True)
    assert found.kl == pytest.approx(float(target))
    expected = (left - right).square().sum() / (left - left.mean(0)).square().sum()
    assert found.error == pytest.approx(float(expected))


def test_other_outputs_have_an_error_only():
    conv = nn.Conv2d(1, 2, 3)
    found = parity(conv, conv, [torch.randn(3, 1, 5, 5)])
    assert (found.error, found.agreement, found.kl) == (0.0, None, None)


def test_training_flags_stay_and_dropout_is_off():
    net = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)).train()
    assert parity(net, net, [torch.randn(20, 4)]).error == 0
    assert net.training


def test_bad_calls_are_errors():
    with pytest.raises(DataError, match="no batch"):
        parity(nn.Linear(4, 3), nn.Linear(4, 3), [])
    with pytest.raises(ModelError, match="different shapes"):
        parity(nn.Linear(4, 3), nn.Linear(4, 2), [torch.randn(2, 4)])
