"""A search put together: its study in a storage, and what works on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convslim.search.evaluation import Evaluator
from convslim.search.ledger import Ledger
from convslim.search.objective import Objective
from convslim.search.run import Search
from convslim.search.settings import SearchSettings
from convslim.search.space import Space
from convslim.search.storage import open_storage, shown
from convslim.search.study import identity, open_study, study_name


def begin(
    space: Space,
    evaluator: Evaluator,
    settings: SearchSettings,
    storage: str | Path,
    *,
    objective: Objective | None = None,
    study: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Search:
    """A search in a storage, begun or gone on with; `.work()` carries it out.

    Args:
        space: What genomes stand for, :func:`~convslim.search.space.search_space`.
        evaluator: Judges plans, :func:`~convslim.search.evaluation_choice.build_evaluator`.
        settings: How the search goes.
        storage: A path ending in ``.db`` or ``.journal``, or a URL, see :mod:`convslim.search.storage`.
        objective: What is maximized; accuracy unless given.
        study: A name; one that only the same search has unless given.
        extra: What the evaluator depends on, as JSON values: another search is refused under the same name.

    Raises:
        ArtifactError: If the storage cannot be used, or the study is that of another search.
    """
    wanted = objective or Objective("accuracy", space.cost(space.whole()))
    found = identity(space, settings, wanted, extra or {})
    where = shown(str(storage))
    opened = open_study(open_storage(storage), study or study_name(found), found, wanted.num_values, where)
    return Search(space, wanted, settings, evaluator, Ledger(opened, space, where))
