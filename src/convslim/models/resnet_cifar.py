"""ResNets for 32×32 images, with the parameter-free shortcut A and the projection shortcut B.

A 3×3 convolution to 16 channels, three stages of n blocks with 16, 32 and 64 channels (depth = 6n + 2),
global average pooling and one linear layer. State dicts of option A have the keys of the public checkpoints
of akamaster (`layer1.0.conv1.weight`, `linear.weight`), those of option B the keys of chenyaofo's
(`layer2.0.downsample.0.weight`, `fc.weight`).

References:
    K. He, X. Zhang, S. Ren, J. Sun, *Deep Residual Learning for Image Recognition*, CVPR 2016,
    arXiv:1512.03385, §4.2.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from convslim.errors import ModelError


class ZeroPadShortcut(nn.Module):
    """Shortcut A: every second pixel, and zero channels around the input's.

    (N, C, H, W) → (N, before + C + after, ⌈H/2⌉, ⌈W/2⌉). It has no parameters. Surgery that removes channels
    of the stages before or after it sets `channel_padding` anew.

    Attributes:
        channel_padding: (before, after), how many zero channels to put before and after the input's channels.

    >>> import torch
    >>> ZeroPadShortcut((8, 8))(torch.ones(1, 16, 32, 32)).shape
    torch.Size([1, 32, 16, 16])
    """

    def __init__(self, channel_padding: tuple[int, int]) -> None:
        super().__init__()
        self.channel_padding = channel_padding

    def forward(self, x: Tensor) -> Tensor:
        """Subsample and pad."""
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, *self.channel_padding))

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"channel_padding={self.channel_padding}"


class BasicBlock(nn.Module):
    """relu(bn2(conv2(relu(bn1(conv1(x))))) + downsample(x)), both convolutions 3×3 without bias."""

    def __init__(self, in_channels: int, channels: int, stride: int, downsample: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) → (N, channels, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.downsample(x))


class CifarResNet(nn.Module):
    """A CIFAR ResNet. Its linear layer is called `linear` with shortcut A and `fc` with shortcut B.

    Args:
        depth: 6n + 2 layers: 20, 32, 44, 56, 110, …
        shortcut: "A" (zero padding, no parameters) or "B" (1×1 convolution and BatchNorm).
        num_classes: outputs.
        in_channels: channels of the images.

    Raises:
        ModelError: `depth` is not 6n + 2, or `shortcut` is neither A nor B.

    >>> sum(p.numel() for p in CifarResNet(20, "A").parameters())
    269722
    """

    def __init__(self, depth: int, shortcut: Literal["A", "B"], *, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ModelError(f"CIFAR ResNet: depth is {depth}; it must be 6n + 2: 8, 14, 20, 32, 44, 56, 110, …")
        if shortcut not in ("A", "B"):
            raise ModelError(f"CIFAR ResNet: shortcut is '{shortcut}'; it must be 'A' or 'B'.")
        num_blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, num_blocks, shortcut)
        self.layer2 = _stage(16, 32, num_blocks, shortcut)
        self.layer3 = _stage(32, 64, num_blocks, shortcut)
        self._head = "linear" if shortcut == "A" else "fc"
        self.add_module(self._head, nn.Linear(64, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) → (N, num_classes)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.get_submodule(self._head)(x.mean((2, 3)))


def _stage(in_channels: int, channels: int, num_blocks: int, shortcut: str) -> nn.Sequential:
    """`num_blocks` blocks; where the width changes, the first one halves the size of the image."""
    changes = in_channels != channels
    first = BasicBlock(
        in_channels,
        channels,
        stride=2 if changes else 1,
        downsample=_downsample(in_channels, channels, shortcut) if changes else nn.Identity(),
    )
    others = [BasicBlock(channels, channels, 1, nn.Identity()) for _ in range(num_blocks - 1)]
    return nn.Sequential(first, *others)


def _downsample(in_channels: int, channels: int, shortcut: str) -> nn.Module:
    extra = channels - in_channels
    if shortcut == "A":
        return ZeroPadShortcut((extra // 2, extra - extra // 2))
    projection = nn.Conv2d(in_channels, channels, 1, stride=2, bias=False)
    return nn.Sequential(projection, nn.BatchNorm2d(channels))
