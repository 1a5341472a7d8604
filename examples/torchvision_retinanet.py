"""A detector of one's own with a feature pyramid: torchvision's RetinaNet, by the recipe of torchvision_detector.py.

Its heads share their weights over the levels of the pyramid, and its loss is focal: most anchors show background.
"""

from collections.abc import Sequence

from squares import CLASSES, compress
from torch import Tensor, nn
from torchvision_detector import OUTPUTS, Anchors, RawOutputs

from convslim.compat import import_optional
from convslim.data.objects import Objects


def detector() -> nn.Module:
    """torchvision's, on a small ResNet; its classes count from 0, without a background."""
    import_optional("torchvision")  # the package's own code in Python, where its compiled library does not load
    from torchvision.models.detection import RetinaNet
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    options = {"weights": None, "trainable_layers": 5, "returned_layers": [2, 3, 4], "norm_layer": nn.BatchNorm2d}
    pyramid = resnet_fpn_backbone(backbone_name="resnet18", extra_blocks=LastLevelP6P7(256, 256), **options)
    return RetinaNet(pyramid, num_classes=len(CLASSES))


def retinanet() -> nn.Module:
    """The network that is trained and cut."""
    return RawOutputs(detector())


class Heads:
    """What the outputs mean, by torchvision's own code; all levels of the pyramid are one here."""

    def __init__(self) -> None:
        self.detector = detector().eval()
        self.anchors = Anchors(self.detector)

    def loss(self, outputs: tuple[Tensor, ...], targets: Sequence[Objects], shape: tuple[int, ...]) -> Tensor:
        wanted = [{"boxes": each.boxes, "labels": each.labels} for each in targets]
        found = self.detector.compute_loss(wanted, dict(zip(OUTPUTS, outputs, strict=True)), self.anchors(shape))
        return found["bbox_regression"] + found["classification"]

    def detect(self, outputs: tuple[Tensor, ...], shape: tuple[int, ...]) -> list[dict[str, Tensor]]:
        raw = {name: [output] for name, output in zip(OUTPUTS, outputs, strict=True)}
        return self.detector.postprocess_detections(
            raw, [[each] for each in self.anchors(shape)], [shape[2:]] * shape[0]
        )


if __name__ == "__main__":
    # The refit leaves layers alone that are used more than once, such as these heads: here they keep their channels.
    compress(__file__, "retinanet", "Heads", cut={"budget": {"macs": 0.8}, "keep": ["head.*"]}, epochs=14, lr=1e-3)
