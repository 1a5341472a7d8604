"""Networks of the pruning literature, and the way to everybody else's.

>>> create("resnet20_cifar").layer1[0].conv1.weight.shape
torch.Size([16, 16, 3, 3])
"""

from convslim.models.factory import NETWORKS, SHAPES, create

__all__ = ["NETWORKS", "SHAPES", "create"]
