"""The improved YOLOv3 on MobileNetV2 with depthwise-separable convolutions.

Three scales; every cell predicts three boxes without anchors: distances to the left and top, to the right and bottom
edge, an objectness and the classes.

References:
    J. Redmon and A. Farhadi, *YOLOv3: An Incremental Improvement*, 2018, arXiv:1804.02767; for the features see
    :mod:`convslim.models.mobilenet_v2`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from convslim.errors import ModelError
from convslim.models.mobilenet_v2 import (
    TAPS,
    ConvBNReLU6,
    mobilenet_v2_features,
    multiple_of_8,
    output_channels,
)
from convslim.surgery.weights import load_weights

SLOTS = 3
"""Boxes of a cell."""
BOX_VALUES = 5
"""Four distances and the objectness; the classes follow."""
RARE = -4.6  # the logit of 0.01
STRIDES = (8, 16, 32)
"""Pixels of a cell, in the order of the outputs."""


class Separable(nn.Sequential):
    """3x3 depthwise and 1x1 pointwise convolution, each with BatchNorm and ReLU6."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(ConvBNReLU6(inputs, inputs, 3, groups=inputs), ConvBNReLU6(inputs, outputs, 1))


class _Neck(nn.Sequential):
    """Five layers, 1x1 and separable in turn, that bring `inputs` to `channels`."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__(
            ConvBNReLU6(inputs, channels, 1),
            Separable(channels, 2 * channels),
            ConvBNReLU6(2 * channels, channels, 1),
            Separable(channels, 2 * channels),
            ConvBNReLU6(2 * channels, channels, 1),
        )


class _Head(nn.Module):
    """A separable layer and the 1x1 convolution whose outputs are the predictions."""

    def __init__(self, channels: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.separable = Separable(channels, hidden)
        self.predict = nn.Conv2d(hidden, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, h, w) → (N, outputs, h, w)."""
        return self.predict(self.separable(x))


class YOLOv3MobileNetV2(nn.Module):
    """The detector.

    Args:
        num_classes: kinds of objects.
        width: channel multiplier of features and heads.
        in_channels: channels of the images.
        features: file with weights for the features, as torchvision's MobileNetV2 has them; others in it are left out.

    Raises:
        ModelError: a number is out of range, or the weights do not fit.
        ArtifactError: the file cannot be read.

    >>> sum(parameter.numel() for parameter in YOLOv3MobileNetV2(num_classes=20).parameters())
    6775393
    """

    def __init__(
        self, *, num_classes: int = 20, width: float = 1.0, in_channels: int = 3, features: str | None = None
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ModelError(f"num_classes={num_classes} must be 1 at least.")
        if width <= 0:
            raise ModelError(f"width={width} must be above 0; 1.0 is the published network.")
        self.num_classes = num_classes
        self.features = mobilenet_v2_features(width, in_channels)
        fine, middle, coarse = (output_channels(self.features, position) for position in TAPS)
        wide, half, quarter = (multiple_of_8(channels * width) for channels in (512, 256, 128))
        outputs = SLOTS * (BOX_VALUES + num_classes)
        self.neck_large = _Neck(coarse, wide)
        self.head_large = _Head(wide, multiple_of_8(1024 * width), outputs)
        self.lateral_middle = ConvBNReLU6(wide, half, 1)
        self.neck_middle = _Neck(half + middle, half)
        self.head_middle = _Head(half, multiple_of_8(512 * width), outputs)
        self.lateral_small = ConvBNReLU6(half, quarter, 1)
        self.neck_small = _Neck(quarter + fine, quarter)
        self.head_small = _Head(quarter, multiple_of_8(256 * width), outputs)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self._initialize()
        if features is not None:
            self._load_features(features)

    def _load_features(self, file: str) -> None:
        missing = [name for name in load_weights(self, file, strict=False).missing if name.startswith("features.")]
        if missing:
            raise ModelError(f"{file} lacks {len(missing)} tensors of the features, for example {missing[0]}.")

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for head in (self.head_small, self.head_middle, self.head_large):
            nn.init.normal_(head.predict.weight, std=0.01)
            # Hardly any cell holds an object: without this the background's loss drowns all else at the start.
            bias = torch.zeros(SLOTS, BOX_VALUES + self.num_classes)
            bias[:, BOX_VALUES - 1 :] = RARE
            head.predict.bias = nn.Parameter(bias.flatten())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, in_channels, H, W), H and W multiples of 32 → maps of 1/8, 1/16 and 1/32 of the size.

        Returns:
            Per scale (N, 3 * (5 + num_classes), h, w): for every slot left, top, right, bottom, objectness and the
            classes, as the network gives them; see :mod:`convslim.detection.decode`.
        """
        taps = []
        for position, block in enumerate(self.features):
            x = block(x)
            if position in TAPS:
                taps.append(x)
        fine, middle, coarse = taps
        large = self.neck_large(coarse)
        medium = self.neck_middle(torch.cat([self.upsample(self.lateral_middle(large)), middle], 1))
        small = self.neck_small(torch.cat([self.upsample(self.lateral_small(medium)), fine], 1))
        return self.head_small(small), self.head_middle(medium), self.head_large(large)
