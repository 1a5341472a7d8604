"""Make torchvision importable where its compiled operators cannot load.

torchvision registers shape functions for its operators while it is imported, and fails where the compiled
library that declares these operators does not load (a torchvision built for another build of PyTorch). Its
Python parts – the classification networks, and everything that timm takes from it – need none of them. So the
missing schemas are declared first. Box operators (`nms`, `roi_align`, …) stay unavailable and say so
themselves when they are called.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType

import torch

from convslim.errors import ModelError

# What `import torchvision` registers shape functions for, whether or not its library was loaded.
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def import_optional(name: str) -> ModuleType:
    """Import `timm` or `torchvision`, which convslim does not need by itself.

    Raises:
        ModelError: the package is not installed or does not import.

    >>> import_optional("torchvision").models.get_model("resnet18", weights=None).fc
    Linear(in_features=512, out_features=1000, bias=True)
    """
    declare_torchvision_operators()
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ModelError(
            f"'{name}' cannot be imported ({error}). Install it with: pip install 'convslim[{name}]'"
        ) from error


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
