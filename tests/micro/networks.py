"""The table of all micro-networks."""

from . import attention, branches, convolutions, movement, programs, reductions
from .case import Case

CASES: tuple[Case, ...] = (
    *branches.CASES,
    *convolutions.CASES,
    *movement.CASES,
    *attention.CASES,
    *reductions.CASES,
    *programs.CASES,
)
