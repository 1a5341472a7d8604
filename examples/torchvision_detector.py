"""A detector of one's own: torchvision's SSDLite, trained, cut, tuned and exported by a recipe.

convslim needs two things of it: the network from images to raw outputs (`ssdlite`), and what these outputs mean
(`Heads`). Images and boxes come from the data set, resized and normalized; so torchvision's own transform is left out.
"""

from collections.abc import Sequence

import torch
from squares import CLASSES, compress
from torch import Tensor, nn

from convslim.data.objects import Objects
from convslim.models import create

OUTPUTS = ("bbox_regression", "cls_logits")


class RawOutputs(nn.Module):
    """Backbone and head, as torchvision's detector runs them, without its losses and its choice of boxes."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.head

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found = self.head(list(self.backbone(images).values()))
        return tuple(found[name] for name in OUTPUTS)


def detector() -> nn.Module:
    """torchvision's; its class 0 is the background. BatchNorm follows fast, since the training below is short."""
    options = {"num_classes": len(CLASSES) + 1, "weights_backbone": None, "norm_layer": nn.BatchNorm2d}
    return create("torchvision:ssdlite320_mobilenet_v3_large", **options)


def ssdlite() -> nn.Module:
    """The network that is trained and cut."""
    return RawOutputs(detector())


class Anchors:
    """Those of torchvision's detectors; they depend on the size of the images only."""

    def __init__(self, detector: nn.Module) -> None:
        self.detector = detector
        self.known: dict[tuple[int, ...], list[Tensor]] = {}

    def __call__(self, shape: tuple[int, ...]) -> list[Tensor]:
        """Of every image in a batch of this shape."""
        from torchvision.models.detection.image_list import ImageList

        if shape[1:] not in self.known:
            images = torch.zeros(1, *shape[1:])
            with torch.no_grad():
                maps = list(self.detector.backbone(images).values())
                self.known[shape[1:]] = self.detector.anchor_generator(ImageList(images, [shape[2:]]), maps)
        return self.known[shape[1:]] * shape[0]


class Heads:
    """What the outputs mean, by torchvision's own code."""

    def __init__(self) -> None:
        self.detector = detector().eval()
        self.anchors = Anchors(self.detector)

    def loss(self, outputs: tuple[Tensor, ...], targets: Sequence[Objects], shape: tuple[int, ...]) -> Tensor:
        anchors = self.anchors(shape)
        wanted = [{"boxes": each.boxes, "labels": each.labels + 1} for each in targets]
        matched = [self.matched(each["boxes"], of) for each, of in zip(wanted, anchors, strict=True)]
        found = self.detector.compute_loss(wanted, dict(zip(OUTPUTS, outputs, strict=True)), anchors, matched)
        return found["bbox_regression"] + found["classification"]

    def detect(self, outputs: tuple[Tensor, ...], shape: tuple[int, ...]) -> list[dict[str, Tensor]]:
        raw = dict(zip(OUTPUTS, outputs, strict=True))
        found = self.detector.postprocess_detections(raw, self.anchors(shape), [shape[2:]] * shape[0])
        return [{**each, "labels": each["labels"] - 1} for each in found]

    def matched(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        from torchvision.ops.boxes import box_iou

        if not len(boxes):
            return torch.full((len(anchors),), -1)
        return self.detector.proposal_matcher(box_iou(boxes, anchors))


if __name__ == "__main__":
    compress(__file__, "ssdlite", "Heads", cut={"budget": {"macs": 0.6}}, epochs=24, lr=3e-3)
