"""What every known ATen operation does with channels: one table, one file per family.

An operation that is in no family is *unknown*: the channels that reach it are pinned, and the graph names the
operation, the module and the source line. Nothing is guessed from a name.
"""

from collections.abc import Mapping
from types import MappingProxyType

from convslim.channels.labeler import Labeler, Rule
from convslim.channels.rules import (
    attention,
    create,
    elementwise,
    mixing,
    movement,
    norm,
    parts,
    reduce,
    shape,
    spatial,
)
from convslim.channels.tape import OpCall

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        **create.RULES,
        **movement.RULES,
        **parts.RULES,
        **shape.RULES,
        **elementwise.RULES,
        **spatial.RULES,
        **norm.RULES,
        **reduce.RULES,
        **mixing.RULES,
        **attention.RULES,
    }
)


def by_tag(call: OpCall, labeler: Labeler) -> None:
    """Operations outside the table: PyTorch's own tags say whether they are point-wise or reductions; or unknown."""
    if elementwise.is_pointwise(call):
        elementwise.pointwise(call, labeler)
    elif reduce.is_reduction(call):
        reduce.reduction(call, labeler)
    else:
        labeler.pin_inputs(call, f"{call.title} is an unknown operation")


__all__ = ["RULES", "by_tag"]
