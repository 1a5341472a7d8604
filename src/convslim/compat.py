"""Make torchvision importable where its compiled operators cannot load.

torchvision registers shape functions for its operators while it is imported, and fails where the compiled
library that declares these operators does not load (a torchvision built for another build of PyTorch). Its
Python parts – the classification networks, and everything that timm takes from it – need none of them. So the
missing schemas are declared first, under torchvision's own names.

Detectors call two of these operators: `nms` and `roi_align`. They get kernels in plain PyTorch, slower than the
compiled ones and equal to them, so that a detector runs as the same sequence of operations everywhere. The other
operators (`deform_conv2d`, `ps_roi_align`, …) stay unavailable and say so themselves when they are called.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from convslim.errors import ModelError

# `import torchvision` registers shape functions for the first two, whether or not its library was loaded.
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "int sampling_ratio, bool aligned) -> Tensor",
)


def import_optional(name: str) -> ModuleType:
    """Import `timm` or `torchvision`, which convslim does not need by itself.

    Raises:
        ModelError: the package is not installed or does not import.

    >>> import_optional("torchvision").models.get_model("resnet18", weights=None).fc
    Linear(in_features=512, out_features=1000, bias=True)
    """
    library = declare_torchvision_operators()
    try:
        package = importlib.import_module(name)
        if library is not None:
            _give_kernels()
    except ImportError as error:
        raise ModelError(
            f"'{name}' cannot be imported ({error}). Install it with: pip install 'convslim[{name}]'"
        ) from error
    return package


@functools.cache
def declare_torchvision_operators() -> torch.library.Library | None:
    """Declare the schemas that `import torchvision` needs, unless torchvision is absent or its library loads.

    Returns:
        The library that holds the declarations; it must stay alive as long as they are needed.
    """
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None or _loads_compiled(Path(found.origin).parent):
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    return library


def _loads_compiled(package: Path) -> bool:
    """Whether the compiled operators of torchvision in folder `package` load into this PyTorch."""
    for suffix in EXTENSION_SUFFIXES:
        if (package / f"_C{suffix}").exists():
            try:
                torch.ops.load_library(str(package / f"_C{suffix}"))
            except OSError:
                return False
            return True
    return False


@functools.cache
def _give_kernels() -> None:
    """Let torchvision's functions reach the declared operators, and these the kernels below.

    torchvision asks its `extension` module whether the compiled library was loaded, and refuses otherwise; the two
    modules of the two operators are told that it was.
    """
    boxes: Any = importlib.import_module("torchvision.ops.boxes")
    align: Any = importlib.import_module("torchvision.ops.roi_align")
    boxes._assert_has_ops = align._assert_has_ops = lambda: None
    align._has_ops = lambda: True
    # torchvision's own implementation in Python, without the torch.compile around it.
    roi_align = align._roi_align.__wrapped__
    torch.library.impl("torchvision::nms", "CPU", _nms)
    torch.library.impl("torchvision::roi_align", "CPU", roi_align)
    torch.library.register_autograd(
        "torchvision::roi_align",
        functools.partial(_roi_align_backward, roi_align),
        setup_context=_save_for_roi_align,
    )


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Indices of the boxes (N, 4) that overlap no better one by more than the threshold, best first."""
    left = scores.argsort(descending=True, stable=True)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    kept = []
    while left.numel():
        best, left = left[0], left[1:]
        kept.append(best)
        corner = torch.maximum(boxes[best, :2], boxes[left, :2])
        inside = (torch.minimum(boxes[best, 2:], boxes[left, 2:]) - corner).clamp(min=0).prod(dim=1)
        left = left[inside / (areas[best] + areas[left] - inside) <= iou_threshold]
    return torch.stack(kept) if kept else left


def _save_for_roi_align(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, rois, *ctx.numbers = inputs
    ctx.save_for_backward(features, rois)


def _roi_align_backward(roi_align: Callable[..., Tensor], ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """The gradient of the features, by running the plain kernel again; boxes get none, as in torchvision."""
    features, rois = ctx.saved_tensors
    with torch.enable_grad():
        features = features.detach().requires_grad_()
        (back,) = torch.autograd.grad(roi_align(features, rois, *ctx.numbers), features, gradient)
    return back, *[None] * 6
