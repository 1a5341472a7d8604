"""How the strength of a penalty grows while training goes on."""

from __future__ import annotations

import math
from typing import Literal

RampName = Literal["constant", "linear", "cosine"]


def ramp(name: RampName, done: float, length: float) -> float:
    """The part of λ that is in force, 0…1.

        constant  1        linear  t        cosine  (1 − cos πt)/2        for t = min(done/length, 1)

    Args:
        name: The kind.
        done: Share of the training that is done, 0…1.
        length: Share of the training after which λ is in force whole; 0 is at once.

    >>> [round(ramp(name, 0.125, 0.5), 3) for name in ("constant", "linear", "cosine")]
    [1.0, 0.25, 0.146]
    """
    if name == "constant" or length <= 0:
        return 1.0
    part = min(done / length, 1.0)
    return part if name == "linear" else (1 - math.cos(math.pi * part)) / 2
