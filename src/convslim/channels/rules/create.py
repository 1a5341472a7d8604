"""Tensors out of nothing. A constant that is equal everywhere fits any number of channels."""

from convslim.channels.labeler import Labeler, Rule
from convslim.channels.tape import OpCall


def uniform(call: OpCall, labeler: Labeler) -> None:
    """zeros, ones, full and their ``new_`` forms: no channels, one value."""
    for out in call.outs:
        labeler.put(out, {}, uniform=True)


def like(call: OpCall, labeler: Labeler) -> None:
    """zeros_like, rand_like, ...: new values, one for every position that the model tensor has."""
    axes = labeler.axes(call.inputs[0])
    one_value = not call.name.startswith("rand")
    for out in call.outs:
        labeler.put(out, axes, uniform=one_value and not axes)


def varied(call: OpCall, labeler: Labeler) -> None:
    """arange, random numbers: no channels, and every position has its own value."""
    for out in call.outs:
        labeler.put(out, {})


_UNIFORM = "zeros ones full empty scalar_tensor new_zeros new_ones new_full new_empty new_empty_strided empty_strided"
_LIKE = "zeros_like ones_like full_like empty_like rand_like randn_like"
_VARIED = "arange linspace rand randn randint randperm eye tril_indices triu_indices"

RULES: dict[str, Rule] = {
    **dict.fromkeys(_UNIFORM.split(), uniform),
    **dict.fromkeys(_LIKE.split(), like),
    **dict.fromkeys(_VARIED.split(), varied),
}
