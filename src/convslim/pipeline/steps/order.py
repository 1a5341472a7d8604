"""Orders of steps that cannot work, found before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from convslim.errors import RecipeError
from convslim.pipeline.steps.gfr import GFR, gfr_options, no_relations
from convslim.pipeline.steps.prune import PruneStep
from convslim.pipeline.steps.sparsify import SparsifyStep


def check_order(steps: Sequence[tuple[str, BaseModel]]) -> None:
    """See that criterion `gfr` finds relation modules.

    Args:
        steps: Kind and configuration of every step.

    Raises:
        RecipeError: It finds none.
    """
    related = False
    for number, (kind, config) in enumerate(steps, start=1):
        if isinstance(config, SparsifyStep) and config.gfr is not None:
            related = True
        if isinstance(config, PruneStep) and config.criterion == GFR:
            if not related:
                raise RecipeError(f"Step {number} ({kind}): {no_relations()}")
            related = not config.last or gfr_options(config.options).keep_gfr
