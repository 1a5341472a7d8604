"""What is put in and pressed on while training: penalties on BatchNorm scales, and modules that relate channels."""

from convslim.sparsity.controller import Aim, Controller
from convslim.sparsity.gfr import GlobalFeatureRelation
from convslim.sparsity.gfr_attach import (
    attach_relations_,
    detach_relations_,
    fold_relations_,
    insert_relations_,
    relations_in,
)
from convslim.sparsity.gfr_importance import Importance, relation_importance, relationship_factors
from convslim.sparsity.gfr_places import Place, Relations
from convslim.sparsity.paced import PacedPenalty
from convslim.sparsity.penalty import Penalty
from convslim.sparsity.proximal import Proximal
from convslim.sparsity.scales import gate_strengths, scale_strengths
from convslim.sparsity.shapes import Shape, l_half, transformed_l1
from convslim.sparsity.subgradient import Subgradient

__all__ = [
    "Aim",
    "Controller",
    "GlobalFeatureRelation",
    "Importance",
    "PacedPenalty",
    "Penalty",
    "Place",
    "Proximal",
    "Relations",
    "Shape",
    "Subgradient",
    "attach_relations_",
    "detach_relations_",
    "fold_relations_",
    "gate_strengths",
    "insert_relations_",
    "l_half",
    "relation_importance",
    "relations_in",
    "relationship_factors",
    "scale_strengths",
    "transformed_l1",
]
