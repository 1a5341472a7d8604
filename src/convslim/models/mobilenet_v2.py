"""The features of MobileNetV2, for detectors that are built on them.

Parameters carry the names that torchvision gives them, so that weights trained on ImageNet load as they are.

References:
    M. Sandler, A. Howard, M. Zhu, A. Zhmoginov, L.-C. Chen, *MobileNetV2: Inverted Residuals and Linear Bottlenecks*,
    CVPR 2018, arXiv:1801.04381.
"""

from __future__ import annotations

from torch import Tensor, nn

# Expansion t, output channels c, blocks n, stride s of the first of them.
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
TAPS = (6, 13, 18)
"""Positions in the features of the last maps at 1/8, 1/16 and 1/32 of the image's size."""


def multiple_of_8(channels: float) -> int:
    """The nearest multiple of 8, at least 8, and never more than a tenth below.

    >>> [multiple_of_8(channels) for channels in (4, 33, 12, 11)]
    [8, 32, 16, 16]
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class ConvBNReLU6(nn.Sequential):
    """Convolution without bias, BatchNorm, ReLU6; padded so that stride 1 keeps the size."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU6(inplace=True),
        )


class InvertedResidual(nn.Module):
    """1x1 expansion by `t`, 3x3 depthwise convolution, linear 1x1 projection; added to the input where shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.adds = stride == 1 and inputs == outputs
        layers: list[nn.Module] = [ConvBNReLU6(inputs, hidden, 1)] if expansion > 1 else []
        layers += [
            ConvBNReLU6(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) → (N, outputs, H / stride, W / stride)."""
        return x + self.conv(x) if self.adds else self.conv(x)


def mobilenet_v2_features(width: float = 1.0, in_channels: int = 3) -> nn.Sequential:
    """The 19 blocks before the classifier.

    Args:
        width: all channel counts are multiplied by it and rounded to multiples of 8; the last one never shrinks.
        in_channels: channels of the images.

    >>> sum(parameter.numel() for parameter in mobilenet_v2_features().parameters())
    2223872
    """
    channels = multiple_of_8(32 * width)
    layers: list[nn.Module] = [ConvBNReLU6(in_channels, channels, 3, 2)]
    for expansion, outputs, blocks, stride in _STAGES:
        for block in range(blocks):
            made = multiple_of_8(outputs * width)
            layers.append(InvertedResidual(channels, made, stride if block == 0 else 1, expansion))
            channels = made
    layers.append(ConvBNReLU6(channels, multiple_of_8(1280 * max(1.0, width)), 1))
    return nn.Sequential(*layers)


def output_channels(features: nn.Sequential, position: int) -> int:
    """Channels of the map behind one of the features."""
    return [layer for layer in features[position].modules() if isinstance(layer, nn.BatchNorm2d)][-1].num_features
