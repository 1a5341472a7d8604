"""Tensors out of nothing. A constant that is equal everywhere fits any number of channels."""

from convslim.channels.labeler import Labeler, Rule
from convslim.channels.tape import OpCall


def uniform(call: OpCall, labeler: Labeler) -> None:
    """zeros, ones, full, their ``_like`` and ``new_`` forms: no channels, one value."""
    for out in call.outs:
        labeler.put(out, {}, uniform=True)


def varied(call: OpCall, labeler: Labeler) -> None:
    """arange, random numbers: no channels, and every position has its own value."""
    for out in call.outs:
        labeler.put(out, {})


_UNIFORM = "zeros ones full empty scalar_tensor zeros_like ones_like full_like empty_like new_zeros new_ones new_full"
_VARIED = "arange linspace rand randn randint randperm rand_like randn_like eye tril_indices triu_indices"

RULES: dict[str, Rule] = {name: uniform for name in _UNIFORM.split()} | {name: varied for name in _VARIED.split()}
RULES |= {"new_empty": uniform, "new_empty_strided": uniform, "empty_strided": uniform}
