"""One network of the coverage table: built, given weights that hide no error, and an input that it takes."""

from __future__ import annotations

import contextlib
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import convslim
from convslim.errors import ModelError

SMALL = 96
DETECTION: dict[str, Any] = {"min_size": 128, "max_size": 160}
# Untrained heads are sure of nothing: every box counts, and few of them keep the run short.
TWO_STAGES = DETECTION | {
    "box_score_thresh": 0.0,
    "box_detections_per_img": 10,
    "rpn_pre_nms_top_n_test": 50,
    "rpn_post_nms_top_n_test": 20,
}
ONE_STAGE = {"score_thresh": 0.0, "detections_per_img": 10, "topk_candidates": 50}
OPTIONS: dict[str, dict[str, Any]] = {  # by part of torchvision's name; the first that fits
    "fasterrcnn": TWO_STAGES,
    "maskrcnn": TWO_STAGES,
    "keypointrcnn": TWO_STAGES,
    "retinanet": DETECTION | ONE_STAGE,
    "fcos": DETECTION | ONE_STAGE,
    "ssd": ONE_STAGE,
    "googlenet": {"init_weights": False},
    "inception": {"init_weights": False},
}
WITH_BACKBONE = ("rcnn", "retinanet", "fcos", "ssd", "deeplabv3", "fcn_", "lraspp")
CLIPS = {"mvit": (16, 224), "swin3d": (8, 96), "s3d": (16, 224), "r3d": (8, 64), "mc3": (8, 64), "r2plus1d": (8, 64)}
Run = Callable[[nn.Module, Any], Any]


@dataclass(frozen=True)
class Subject:
    """A network, an example input, and the input's size in words."""

    model: nn.Module
    example: Any
    size: str


def build(spec: str) -> nn.Module:
    """The network with seeded random weights, none of them constant, in training mode but for one part of it."""
    seed = zlib.crc32(spec.encode())
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    origin, _, name = spec.partition(":")
    options = {}
    if origin == "torchvision":
        options = dict(next((given for part, given in OPTIONS.items() if name.startswith(part)), {}))
        options |= {"weights": None} | ({"weights_backbone": None} if any(p in name for p in WITH_BACKBONE) else {})
    model = convslim.models.create(spec, **options).train()
    if getattr(model, "num_classes", 1) == 0:  # published without a classifier: all that it computes would be output
        with contextlib.suppress(ModelError):
            model = convslim.models.create(spec, num_classes=1000).train()
    vary_(model)
    first = next(model.children(), None)
    if first is not None:
        first.eval()
    return model


@torch.no_grad()
def vary_(model: nn.Module) -> None:
    """Replace what would hide a wrong channel: a scale of 1, a bias of 0, a layer scale of 1e-6, weights near zero."""
    for parameter in model.parameters():
        if not parameter.is_floating_point() or not parameter.numel():
            continue
        value, last = float(parameter.min()), float(parameter.max())
        fan_in = parameter[0].numel() if parameter.dim() > 1 else 0
        if value == last and abs(value) < 1e-12:
            parameter.normal_(0.0, 0.1)
        elif value == last and abs(value) < 1e-2:
            parameter.uniform_(0.1, 0.5)
        elif value == last:
            parameter.uniform_(0.8, 1.2).mul_(value)
        elif fan_in and parameter.square().mean() * fan_in < 0.01:
            parameter.normal_(0.0, fan_in**-0.5)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0.0, 0.2)
        elif name.endswith("running_var"):
            buffer.uniform_(0.8, 1.2)


def examples(spec: str, model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Inputs to try, the smallest first, with their size in words."""
    origin, _, name = spec.partition(":")
    clip = next((shape for part, shape in CLIPS.items() if name.startswith(part)), None)
    if origin == "torchvision" and clip:
        frames, size = clip
        yield f"{frames}x{size}x{size}", torch.randn(1, 3, frames, size, size)
    elif origin == "torchvision" and any(part in name for part in ("rcnn", "retinanet", "fcos", "ssd")):
        yield "128x128", ([torch.rand(3, 128, 128)],)
    elif name.startswith("raft"):
        yield "2x128x128", (torch.rand(1, 3, 128, 128), torch.rand(1, 3, 128, 128))
    else:
        config = getattr(model, "pretrained_cfg", None) or {}
        channels, *own = config.get("input_size", (3, 224, 224))
        sizes = [tuple(own), (224, 224), (256, 256)]
        for height, width in sizes if config.get("fixed_input_size") else [(SMALL, SMALL), *sizes]:
            yield f"{height}x{width}", torch.randn(1, channels, height, width)


def fitting(spec: str, model: nn.Module, run: Run) -> tuple[str, Any, Any]:
    """The first input that the network takes in both modes: size, input, output in evaluation mode."""
    failure: Exception | None = None
    for size, example in examples(spec, model):
        try:
            return size, example, run(model, example)
        except Exception as error:
            failure = failure or error
    assert failure is not None
    raise failure


def state_of(model: nn.Module) -> dict[str, Any]:
    """All of a network and of the process that a trace might change, to be compared with `changes`."""
    found: dict[str, Any] = {
        "random": torch.get_rng_state(),
        "numpy": repr(np.random.get_state()),
        "python": random.getstate(),
        "gradients on": torch.is_grad_enabled(),
    }
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if "hooks" in key:
                found[f"{name}.{key}"] = len(value) if value is not None else 0
            elif isinstance(value, bool | int | float | str | tuple):
                found[f"{name}.{key}"] = value
        for table in (module._parameters, module._buffers):
            for key, tensor in table.items():
                if tensor is not None:
                    found[f"{name}.{key}"] = tensor.detach().clone()
                    found[f"{name}.{key} as it is"] = (id(tensor), tensor.requires_grad, tensor.grad is None)
    return found


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What differs between two states, by name."""
    return [key for key in before.keys() | after.keys() if not _same(before.get(key), after.get(key))]


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return torch.equal(left, right) or (left.shape == right.shape and bool(torch.isnan(left).any()))
    if isinstance(left, tuple) and any(isinstance(entry, Tensor) for entry in left):
        return True
    return type(left) is type(right) and bool(left == right)
