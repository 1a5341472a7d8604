"""Internal activeness and substitutability: a channel that does much, and that no other one can stand in for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from convslim.channels.graph import ChannelGroup
from convslim.criteria.activations import OVER, ActivationCriterion, Over, chosen
from convslim.criteria.greedy import Floats, Neighbors, removal_scores
from convslim.criteria.relations import ACTIVENESS, DIFFERENCE, Relations
from convslim.errors import PlanError

_ORIENTATION: Final[Mapping[str, Callable[[Floats], Floats]]] = {
    "distinct": lambda nearness: 1 - nearness,
    "typical": lambda nearness: nearness,
}
_COMBINATION: Final[Mapping[str, Callable[[Floats, Floats, float], Floats]]] = {
    "product": lambda active, worth, balance: active * worth,
    "sum": lambda active, worth, balance: balance * active + (1 - balance) * worth,
}
_DEFAULTS: Final[Mapping[str, Any]] = {
    "activeness": "std",
    "difference": "euclidean",
    "neighbors": 1,
    "combination": "product",
    "balance": 0.5,
    "orientation": "distinct",
    "greedy": True,
    "over": "mean",
}


def activeness(
    *,
    activeness: Literal["std", "mean_abs", "l2", "apoz"] = "std",
    difference: Literal["euclidean", "cosine"] = "euclidean",
    neighbors: int | Literal["all"] = 1,
    combination: Literal["product", "sum"] = "product",
    balance: float = 0.5,
    orientation: Literal["distinct", "typical"] = "distinct",
    greedy: bool = True,
    over: Over = "mean",
) -> ActivationCriterion:
    """``I_c = A_c / max A · (1 − S_c)``: activeness times what no other channel of the group can stand in for.

    With ``f_n,c`` the map of channel c on image n, flattened to its HW positions:

    - activeness ``A_c = mean_n std(f_n,c)``,
    - difference ``D_ij = mean_n ‖f_n,i − f_n,j‖₂ / √HW``,
    - nearest difference ``d_c = min_{j≠c} D_cj``,
    - substitutability ``S_c = exp(−d_c / mean(d))``.

    Both copies of a duplicated channel look replaceable, so channels are removed one by one: the least important goes,
    its row and column of D too, and d and S are taken anew, with mean(d) of the whole group: the others can only become
    more important. A channel's score is its importance when it goes, never less than an earlier one's. Both factors
    are relative to the group; the table has the scores divided by their mean for a global ranking.

    Channels of coupled producers are seen at several places of the network: A, D and S are taken at each, the
    importances combined by ``over``, and a channel goes everywhere at once.

    Args:
        activeness: ``"std"``; ``"mean_abs"``: mean |f|; ``"l2"``: ‖f‖₂/√HW; ``"apoz"``: fraction of f ≠ 0. The standard
            deviation of a map with a single position is taken to be |f|.
        difference: ``"euclidean"``, or ``"cosine"``: ``mean_n 1 − |cos(f_n,i, f_n,j)|``, blind to scale; two maps of
            zeros do not differ, one of zeros differs from any other by 1.
        neighbors: d is the mean difference to this many nearest channels, or to ``"all"``.
        combination: ``"product"``, or ``"sum"``: ``balance · A/max A + (1 − balance) · (1 − S)``.
        balance: Weight of the activeness in a sum.
        orientation: ``"distinct"``; ``"typical"`` puts S in the place of 1 − S: what resembles others stays.
        greedy: False scores every channel once, beside all others.
        over: What becomes of the importances at several places: their mean, sum or max.

    Raises:
        PlanError: If an option has no such value.

    >>> activeness(difference="cosine", neighbors=3).name
    'activeness(difference=cosine, neighbors=3)'

    References:
        Northwestern Polytechnical University, CN117829241A. The publication gives activeness, difference,
        substitutability and importance from both; the formulas are our reading, see docs/activeness.md.
    """
    options = {
        "activeness": chosen("activeness", activeness, ACTIVENESS),
        "difference": chosen("difference", difference, DIFFERENCE),
        "neighbors": _checked_neighbors(neighbors),
        "combination": chosen("combination", combination, _COMBINATION),
        "balance": _checked_balance(balance),
        "orientation": chosen("orientation", orientation, _ORIENTATION),
        "greedy": greedy,
        "over": chosen("over", over, OVER),
    }
    others = ", ".join(f"{key}={value}" for key, value in options.items() if value != _DEFAULTS[key])

    def function(group: ChannelGroup, seen: Sequence[Relations]) -> Tensor:
        return torch.from_numpy(_scores(seen, options))

    return ActivationCriterion(
        name=f"activeness({others})" if others else "activeness",
        look=lambda maps: Relations.of(maps, activeness, difference),
        function=function,
        citation="Northwestern Polytechnical University, CN117829241A",
    )


def _scores(seen: Sequence[Relations], options: Mapping[str, Any]) -> Floats:
    found = [tuple(part.cpu().numpy() for part in relations.finish()) for relations in seen]
    active, differences = (np.stack(parts) for parts in zip(*found, strict=True))
    highest = active.max(1, keepdims=True)
    active = np.divide(active, highest, out=np.zeros_like(active), where=highest > 0)
    channels = active.shape[1]
    combine, worth = _COMBINATION[options["combination"]], _ORIENTATION[options["orientation"]]
    over = OVER[options["over"]]

    def importance(nearness: Floats) -> Floats:
        values: Floats = over(torch.from_numpy(combine(active, worth(nearness), options["balance"]))).numpy()
        return values

    neighbors = Neighbors(differences, channels if options["neighbors"] == "all" else options["neighbors"])
    if not options["greedy"]:
        return importance(neighbors.substitutability())
    return removal_scores(neighbors, importance, channels)


def _checked_neighbors(value: int | str) -> int | str:
    if value == "all" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise PlanError(f"neighbors is {value!r}; it is a whole number from 1 on, or 'all'.")


def _checked_balance(value: float) -> float:
    if not isinstance(value, bool | str) and 0 <= value <= 1:
        return value
    raise PlanError(f"balance is {value!r}; it is a number from 0 to 1.")
