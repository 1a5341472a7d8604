"""The cases, by family."""

from __future__ import annotations

from collections.abc import Mapping

from convslim.conformance.case import Case
from convslim.conformance.cases import (
    attention,
    computed_weights,
    concats,
    convolutions,
    gates,
    interfaces,
    layouts,
    normalization,
    programs,
    reductions,
    splits,
    sums,
    weights,
    writes,
)

FAMILIES: Mapping[str, tuple[Case, ...]] = {
    "sums and products": sums.CASES,
    "concatenations": concats.CASES,
    "convolutions": convolutions.CASES,
    "weights": weights.CASES,
    "computed weights": computed_weights.CASES,
    "splits and shuffles": splits.CASES,
    "views and layouts": layouts.CASES,
    "gates": gates.CASES,
    "attention": attention.CASES,
    "normalization": normalization.CASES,
    "activations and reductions": reductions.CASES,
    "writing into tensors": writes.CASES,
    "inputs and outputs": interfaces.CASES,
    "programs": programs.CASES,
}

CASES: tuple[Case, ...] = tuple(case for cases in FAMILIES.values() for case in cases)
