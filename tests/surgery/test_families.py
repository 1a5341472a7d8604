"""The families of the first release: half of the channels of every group go, proven, and only the output is pinned."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from torch import nn

import convslim
from convslim.surgery import carry_out

FAMILIES = {
    "resnet18": 12,
    "resnet50": 37,
    "vgg11_bn": 10,
    "densenet121": 120,
    "mobilenet_v2": 25,
    "mobilenet_v3_small": 27,
    "efficientnet_b0": 40,
    "resnext50_32x4d": 30,
    "regnet_y_400mf": 41,
    "squeezenet1_1": 25,
    "googlenet": 61,
    "inception_v3": 96,
    "shufflenet_v2_x0_5": 21,
}


def with_statistics(model: nn.Module) -> nn.Module:
    """Give every BatchNorm values that make a difference if they end up at the wrong channel."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.get_buffer("running_mean"), std=0.2)
            nn.init.uniform_(module.get_buffer("running_var"), 0.8, 1.2)
    return model


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="needs torchvision")
@pytest.mark.parametrize("name", FAMILIES)
def test_half_of_every_group_goes(name: str) -> None:
    torch.manual_seed(0)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}  # theirs takes half a minute
    model = with_statistics(convslim.models.create(f"torchvision:{name}", **options))
    size = 299 if name == "inception_v3" else 96  # its auxiliary head needs that in training mode
    x = torch.randn(1, 3, size, size)
    graph = convslim.trace(model, x)
    pinned = {pin.reason for group in graph.groups for pin in group.pins}
    assert pinned == {"the channels are an output of the network"}
    assert len(graph.prunable) == FAMILIES[name]
    rng = np.random.default_rng(0)
    kept = {g.name: np.sort(rng.permutation(g.num_channels)[: (g.num_channels + 1) // 2]) for g in graph.prunable}
    plan = convslim.make_plan(graph, {group: [int(index) for index in indices] for group, indices in kept.items()})
    removal = carry_out(model, plan, x, graph=graph)
    assert type(removal.model) is type(model)
    assert removal.certificate.relative_error < 1e-5
    before, after = (convslim.cost(network, x) for network in (model, removal.model))
    assert after.macs < 0.45 * before.macs
    assert convslim.CostModel(graph).macs({group: len(indices) for group, indices in kept.items()}) == after.macs
