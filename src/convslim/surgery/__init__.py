"""Carrying a decision out, with proofs."""

from convslim.surgery.artifact import load, save
from convslim.surgery.fold import FoldedLayer, Folding, fold_
from convslim.surgery.plan import PruningPlan, make_plan
from convslim.surgery.remove import Removal, carry_out, rebuild, remove
from convslim.surgery.verify import Certificate, verify
from convslim.surgery.weights import LoadReport, load_weights

__all__ = [
    "Certificate",
    "FoldedLayer",
    "Folding",
    "LoadReport",
    "PruningPlan",
    "Removal",
    "carry_out",
    "fold_",
    "load",
    "load_weights",
    "make_plan",
    "rebuild",
    "remove",
    "save",
    "verify",
]
