"""VGG-16 with BatchNorm for 32×32 images: one linear layer, convolutions without bias.

References:
    K. Simonyan and A. Zisserman, *Very Deep Convolutional Networks for Large-Scale Image Recognition*, ICLR
    2015, arXiv:1409.1556. The CIFAR form is the one that the pruning literature measures.
"""

from __future__ import annotations

from torch import Tensor, nn

# Output channels of the 3×3 convolutions, stage by stage; every stage ends with 2×2 max pooling.
_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class CifarVGG16BN(nn.Module):
    """VGG-16-BN: 13 convolutions, global average pooling (of 1×1 pixels at 32×32), one linear layer.

    Args:
        num_classes: outputs.
        in_channels: channels of the images.

    >>> sum(p.numel() for p in CifarVGG16BN().parameters())
    14724042
    """

    def __init__(self, *, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stage in _STAGES:
            for channels in stage:
                layers += [
                    nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(inplace=True),
                ]
                in_channels = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(in_channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) → (N, num_classes), H and W at least 32."""
        return self.classifier(self.features(x).mean((2, 3)))
