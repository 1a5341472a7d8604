"""Convolutions in bfloat16 agree with float32, whatever lay in memory before."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convslim.bfloat16 import autocast

CPU = torch.device("cpu")
CASES: list[tuple[type[nn.Module], dict[str, Any], tuple[int, ...]]] = [
    (nn.Conv2d, {"kernel_size": 3, "stride": 2, "padding": 1}, (1, 1)),
    (nn.Conv2d, {"kernel_size": (1, 5), "stride": (1, 3), "padding": (0, 2)}, (4, 2)),
    (nn.Conv2d, {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 4}, (3, 1)),
    (nn.Conv2d, {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 16}, (1, 1)),
    (nn.Conv2d, {"kernel_size": 3, "stride": 2, "padding": "valid"}, (4, 4)),
    (nn.Conv2d, {"kernel_size": 3, "stride": 1, "padding": 1}, (5, 5)),
    (nn.Conv1d, {"kernel_size": 3, "stride": 2, "padding": 1}, (1,)),
    (nn.Conv3d, {"kernel_size": 3, "stride": 2, "padding": 1}, (2, 2, 1)),
    (nn.ConvTranspose2d, {"kernel_size": 3, "stride": 2, "padding": 1}, (2, 1)),
]


def litter(size: int) -> None:
    """Leave NaN in memory that the next tensors get."""
    for number in range(40):
        torch.full((size * (1 + number % 2),), torch.nan, dtype=torch.bfloat16 if number % 4 < 2 else torch.float32)


def computed(layer: nn.Module, images: Tensor, upstream: Tensor, *, cast: bool) -> tuple[Tensor, ...]:
    """Outputs, and the gradients of weight and images."""
    weight, images = layer.weight, images.clone().requires_grad_()
    assert isinstance(weight, Tensor)
    litter(weight.numel())
    with autocast(CPU, enabled=cast):
        outputs = layer(images).float()
    return outputs, *torch.autograd.grad(outputs, (weight, images), upstream)


@pytest.mark.parametrize(("kind", "options", "shape"), CASES)
def test_agrees_with_float32(kind: type[nn.Module], options: dict[str, Any], shape: tuple[int, ...]):
    torch.manual_seed(0)
    layer, images = kind(16, 16, **options).bfloat16().float(), torch.randn(4, 16, *shape).bfloat16().float()
    upstream = torch.randn_like(layer(images)).bfloat16().float()
    wanted = computed(layer, images, upstream, cast=False)
    for _ in range(5):
        for found, exact in zip(computed(layer, images, upstream, cast=True), wanted, strict=True):
            torch.testing.assert_close(found, exact, rtol=0.02, atol=0.02)


def test_the_code_of_a_graph_is_seen_too():
    layer = nn.Conv2d(16, 16, 3, stride=2, padding=1)
    images = torch.randn(4, 16, 1, 1)
    graph = torch.export.export(layer, (images,)).module()
    for parameter in graph.parameters():
        for _ in range(5):
            parameter.grad = None
            litter(parameter.numel())
            with autocast(CPU):
                outputs = graph(images)
            assert outputs.dtype == torch.bfloat16
            outputs.float().sum().backward()
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all()


def test_without_autocast_nothing_changes():
    with autocast(CPU, enabled=False):
        assert torch.conv2d(torch.ones(1, 8, 1, 1), torch.ones(8, 8, 3, 3), None, 2, 1).dtype == torch.float32
