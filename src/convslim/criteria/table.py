"""The criteria by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from convslim.criteria import reconstruction
from convslim.criteria.activations import ActivationCriterion
from convslim.criteria.activeness import activeness
from convslim.criteria.apoz import apoz
from convslim.criteria.bn_scale import bn_scale
from convslim.criteria.chip import chip
from convslim.criteria.criterion import Criterion
from convslim.criteria.fpgm import fpgm
from convslim.criteria.hrank import hrank
from convslim.criteria.l1 import l1
from convslim.criteria.l2 import l2
from convslim.criteria.lamp import lamp
from convslim.criteria.mean_activation import mean_activation
from convslim.criteria.normalized import normalized
from convslim.criteria.obd import obd
from convslim.criteria.random import random
from convslim.criteria.taylor import taylor
from convslim.errors import PlanError, nearest

AnyCriterion = Criterion | ActivationCriterion

_FACTORIES: Final[Mapping[str, Callable[..., AnyCriterion]]] = {
    "bn_scale": bn_scale,
    "l1": l1,
    "l2": l2,
    "fpgm": fpgm,
    "lamp": lamp,
    "taylor": taylor,
    "obd": obd,
    "activeness": activeness,
    "hrank": hrank,
    "chip": chip,
    "apoz": apoz,
    "mean_activation": mean_activation,
    "random": random,
}
_RELATIVE: Final = frozenset({"l1", "l2", "fpgm", "lamp", "activeness", "hrank", "chip", "mean_activation"})
"""Criteria whose unit or range differs from group to group: their scores are divided by the mean of the group."""


def named(name: str, options: Mapping[str, Any] | None = None) -> AnyCriterion:
    """The criterion of a name, in a form that ranks channels across layers.

    Args:
        name: One of :data:`CRITERIA`.
        options: Keyword arguments of the criterion's function, ``{"difference": "cosine"}``.

    Raises:
        PlanError: If there is no such criterion, option or value.

    >>> named("activeness", {"difference": "cosine"}).name
    'normalized(activeness(difference=cosine))'
    """
    factory = _FACTORIES.get(name)
    if factory is None:
        raise PlanError(f"There is no criterion {name!r}; known are {', '.join(NAMES)}.{nearest(name, NAMES)}")
    known = inspect.signature(factory).parameters
    for option in options or {}:
        if option not in known:
            some = f"its options are {', '.join(known)}" if known else "it has none"
            raise PlanError(f"Criterion {name!r} has no option {option!r}; {some}.{nearest(option, known)}")
    made = factory(**(options or {}))
    return normalized(made) if name in _RELATIVE else made


CRITERIA: Final[Mapping[str, AnyCriterion]] = {name: named(name) for name in _FACTORIES}
"""The criteria by the names that recipes use, in a form that ranks channels across layers."""

NAMES: Final = (*CRITERIA, reconstruction.NAME)
"""All names that :func:`convslim.score` knows: one more looks at all layers at once."""
