"""`recalibrate`: statistics are plain averages over batches."""

from __future__ import annotations

import torch
from torch import nn

from convslim.data import open_data
from convslim.train import recalibrate, recalibrate_


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)
    )


def test_statistics_are_the_mean_over_batches():
    split, model = open_data("digits").train, network().eval()
    fresh = recalibrate(model, split, num_batches=5, batch_size=32, seed=3)
    batches = list(split.batches(32, seed=3, limit=5 * 32))
    with torch.no_grad():
        features = [model[0](images) for images, _ in batches]
    means = torch.stack([feature.mean((0, 2, 3)) for feature in features])
    variances = torch.stack([feature.var((0, 2, 3)) for feature in features])
    torch.testing.assert_close(fresh.get_buffer("1.running_mean"), means.mean(0))
    torch.testing.assert_close(fresh.get_buffer("1.running_var"), variances.mean(0))
    assert torch.equal(model[1].running_mean, torch.zeros(4))
    assert not fresh.training


def test_momentum_flags_and_weights_stay():
    model = network().train()
    weight = model[0].weight.detach().clone()
    assert recalibrate_(model, open_data("digits").train, num_batches=2) == 1
    assert model[1].momentum == 0.1
    assert model.training
    assert torch.equal(model[0].weight, weight)


def test_networks_without_batchnorm_are_left_alone():
    assert recalibrate_(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), open_data("digits").train) == 0
