"""convslim: make a trained CNN smaller and faster, and prove what came out."""

from convslim import data, models
from convslim.allocate import allocate
from convslim.channels import ChannelGraph, ChannelGroup, ParamAxis, Pin, trace
from convslim.criteria import score
from convslim.measure.cost import Cost, CostModel, cost
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

__version__ = "0.1.0"

__all__ = [
    "Certificate",
    "ChannelGraph",
    "ChannelGroup",
    "Cost",
    "CostModel",
    "ParamAxis",
    "Pin",
    "PruningPlan",
    "allocate",
    "cost",
    "data",
    "fold_",
    "load",
    "load_weights",
    "make_plan",
    "models",
    "rebuild",
    "remove",
    "save",
    "score",
    "trace",
    "verify",
]
