"""A detector of one's own: torchvision's SSDLite, trained, cut, tuned and exported by a recipe.

convslim needs two things of it: the network from images to raw outputs (`ssdlite`), and what these outputs mean
(`Heads`). Images and boxes come from the data set, resized and normalized; so torchvision's own transform is left out.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from convslim.data.objects import Objects
from convslim.models import create
from convslim.pipeline import parse_recipe, run

SIDE, CLASSES = 96, ("dark", "light")
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


class Heads:
    """What the outputs mean, by torchvision's own code; its anchors depend on the size of the images only."""

    def __init__(self) -> None:
        self.detector = detector().eval()

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

    def anchors(self, shape: tuple[int, ...]) -> list[Tensor]:
        from torchvision.models.detection.image_list import ImageList

        images = torch.zeros(1, *shape[1:])
        with torch.no_grad():
            maps = list(self.detector.backbone(images).values())
            return self.detector.anchor_generator(ImageList(images, [shape[2:]]), maps) * shape[0]

    def matched(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        from torchvision.ops.boxes import box_iou

        if not len(boxes):
            return torch.full((len(anchors),), -1)
        return self.detector.proposal_matcher(box_iou(boxes, anchors))


def write_images(root: Path, count: int) -> None:
    """Squares, dark or light, in the layout of the VOC challenge."""
    draw = random.Random(0)
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        left, top, kind = draw.randrange(8, 48), draw.randrange(8, 48), draw.choice(CLASSES)
        image = Image.new("RGB", (SIDE, SIDE), "gray")
        ImageDraw.Draw(image).rectangle((left, top, left + 39, top + 39), fill="white" if kind == "light" else "black")
        image.save(root / f"JPEGImages/{number}.png")
        edges = {"xmin": left + 1, "ymin": top + 1, "xmax": left + 40, "ymax": top + 40}
        box = "".join(f"<{tag}>{edge}</{tag}>" for tag, edge in edges.items())
        size = f"<size><width>{SIDE}</width><height>{SIDE}</height></size>"
        objects = f"<object><name>{kind}</name><bndbox>{box}</bndbox></object>"
        (root / f"Annotations/{number}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
    for part, numbers in (("trainval", range(count // 2)), ("test", range(count // 2, count))):
        (root / f"ImageSets/Main/{part}.txt").write_text("".join(f"{number}\n" for number in numbers))


def main() -> None:
    training = {"optimizer": "adam", "lr": 3e-3, "weight_decay": 0, "batch_size": 4, "evaluate_every": 100}
    training |= {"augment": False, "precision": "bf16"}
    with TemporaryDirectory() as folder:
        write_images(Path(folder, "squares"), 32)
        recipe = parse_recipe(
            {
                "name": "ssdlite",
                "threads": 1,
                "model": {"spec": f"{__file__}:ssdlite", "heads": f"{__file__}:Heads"},
                "data": {"spec": f"voc:{folder}/squares", "options": {"side": SIDE, "workers": 0}},
                "steps": [
                    {"train": {**training, "epochs": 24}},
                    {"prune": {"criterion": "l1", "budget": {"macs": 0.6}, "round_to": 8}},
                    {"reconstruct": {"num_images": 16, "compared": 1}},
                    {"finetune": {**training, "epochs": 12}},
                    {"export": {}},
                ],
            }
        )
        record = run(recipe, Path(folder, "run"), quiet=True)
        for step in record.steps:
            if step.measured is not None:
                print(f"{step.kind:12} {step.macs:,} MACs, mAP {step.measured:.2f}")
        print(f"the same outputs from ONNX Runtime, {Path(folder, 'run', 'model.onnx').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
