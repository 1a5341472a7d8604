"""A small network for the embedded 8×8 digits, with the couplings that make channel pruning interesting."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from convslim.models.resnet_cifar import BasicBlock


class InvertedResidual(nn.Module):
    """x + bn(project(relu(bn(depthwise(relu(bn(expand(x)))))))): 1×1, 3×3 depthwise, 1×1, without bias."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, hidden, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.project = nn.Conv2d(hidden, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) → the same shape."""
        y = F.relu(self.bn1(self.expand(x)))
        y = F.relu(self.bn2(self.depthwise(y)))
        return x + self.bn3(self.project(y))


class DigitsCNN(nn.Module):
    """Stem, residual block, the same with projection shortcut, inverted residual block, 1×1 head, linear.

    1,156,032 MACs and 60,346 parameters at 8×8; six channel groups: two residual trunks of 16 and 48
    channels, and four inner widths.

    Args:
        num_classes: outputs.
        in_channels: channels of the images.
    """

    def __init__(self, *, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        projection = nn.Sequential(nn.Conv2d(16, 48, 1, stride=2, bias=False), nn.BatchNorm2d(48))
        self.stem = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(16)
        self.block1 = BasicBlock(16, 16, 1, nn.Identity())
        self.block2 = BasicBlock(16, 48, 2, projection)
        self.block3 = InvertedResidual(48, 192)
        self.head = nn.Conv2d(48, 96, 1, bias=False)
        self.head_bn = nn.BatchNorm2d(96)
        self.fc = nn.Linear(96, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) → (N, num_classes)."""
        x = F.relu(self.stem_bn(self.stem(x)))
        x = self.block3(self.block2(self.block1(x)))
        x = F.relu(self.head_bn(self.head(x)))
        return self.fc(x.mean((2, 3)))
