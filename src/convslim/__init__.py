"""convslim: make a trained CNN smaller and faster, and prove what came out.

Names are imported when they are first used: `import convslim` takes a moment, and what needs no network, such as the
report of a run, works without PyTorch.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from convslim import data, models
    from convslim.allocate import allocate
    from convslim.channels import ChannelGraph, ChannelGroup, ParamAxis, Pin, trace
    from convslim.compress import Compression, compress
    from convslim.criteria import score
    from convslim.export.timing import timing
    from convslim.measure.cost import Cost, CostModel, cost
    from convslim.measure.parity import Parity, parity
    from convslim.surgery import (
        Certificate,
        PruningPlan,
        fold_,
        load,
        load_weights,
        make_plan,
        rebuild,
        remove,
        save,
        verify,
    )
    from convslim.surgery.reconstruction import Reconstruction, reconstruct_

__version__ = "0.1.0"

_PLACES: Final = {
    "allocate": "allocate",
    "ChannelGraph": "channels",
    "ChannelGroup": "channels",
    "ParamAxis": "channels",
    "Pin": "channels",
    "trace": "channels",
    "Compression": "compress",
    "compress": "compress",
    "score": "criteria",
    "timing": "export.timing",
    "Cost": "measure.cost",
    "CostModel": "measure.cost",
    "cost": "measure.cost",
    "Parity": "measure.parity",
    "parity": "measure.parity",
    "Certificate": "surgery",
    "PruningPlan": "surgery",
    "fold_": "surgery",
    "load": "surgery",
    "load_weights": "surgery",
    "make_plan": "surgery",
    "rebuild": "surgery",
    "remove": "surgery",
    "save": "surgery",
    "verify": "surgery",
    "Reconstruction": "surgery.reconstruction",
    "reconstruct_": "surgery.reconstruction",
}
"""Where each public name stands."""

__all__ = [
    "Certificate",
    "ChannelGraph",
    "ChannelGroup",
    "Compression",
    "Cost",
    "CostModel",
    "ParamAxis",
    "Parity",
    "Pin",
    "PruningPlan",
    "Reconstruction",
    "allocate",
    "compress",
    "cost",
    "data",
    "fold_",
    "load",
    "load_weights",
    "make_plan",
    "models",
    "parity",
    "rebuild",
    "reconstruct_",
    "remove",
    "save",
    "score",
    "timing",
    "trace",
    "verify",
]


class _Package(ModuleType):
    """This module. The functions `allocate` and `compress` are named as the modules that they stand in."""

    def __setattr__(self, name: str, value: object) -> None:
        # The import system puts a submodule into its package; it must not take the place of a function.
        if not (name in _PLACES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


if not TYPE_CHECKING:  # with it, a type checker would find every name

    def __getattr__(name: str) -> object:
        if name in _PLACES:
            value = getattr(importlib.import_module(f"convslim.{_PLACES[name]}"), name)
        elif name in ("data", "models"):
            value = importlib.import_module(f"convslim.{name}")
        else:
            raise AttributeError(f"module 'convslim' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


sys.modules[__name__].__class__ = _Package
