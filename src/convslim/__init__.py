"""convslim: make a trained CNN smaller and faster, and prove what came out."""

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
