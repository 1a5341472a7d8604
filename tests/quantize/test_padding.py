"""Convolutions with padding="same": in integers where both sides are padded alike, named where not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from convslim.export import export_int8
from convslim.quantize import quantize
from convslim.quantize.padding import with_numbers


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "dilation": 2},
        {"kernel_size": (3, 5), "groups": 8},
    ],
    ids=str,
)
def test_same_padding_becomes_integers_that_agree(tmp_path: Path, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3, padding="valid"), nn.ReLU(), nn.Conv2d(8, 8, padding="same", **options))
    model = nn.Sequential(*layers, nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    images = torch.randn(20, 3, 12, 12)
    done = quantize(model, images)
    assert dict(done.left) == {}
    assert done.parity.error < 0.01
    report = export_int8(done.model, images, tmp_path / "same.onnx")
    assert (report.kernels.integer, report.kernels.real) == (("0", "2", "5"), ())
    assert model[2].padding == "same"  # the user's model is left alone


def test_uneven_padding_stays_float_and_says_why() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 4, padding="same"), nn.ReLU(), nn.Conv2d(8, 4, 1)
    )
    done = quantize(model.eval(), torch.randn(10, 3, 12, 12))
    assert dict(done.left) == {"2": "padding='same' pads its two sides differently"}
    assert list(done.noise) == ["0", "4"]


class Own(nn.Conv2d):
    """Reads its padding by itself."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        assert self.padding == "same"
        return super().forward(input)


@pytest.mark.parametrize(
    "layer", [Own(3, 4, 3, padding="same"), nn.Conv2d(3, 4, 3, padding="same", padding_mode="reflect")], ids=str
)
def test_layers_that_do_more_than_pad_with_zeros_are_left_alone(layer: nn.Module) -> None:
    model = nn.Sequential(layer)
    assert with_numbers(model) is model
