"""The study of a search: made once, found again, and refused where it is another search's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
from optuna.storages import BaseStorage

from convslim.errors import ArtifactError
from convslim.search.objective import Objective
from convslim.search.settings import SearchSettings
from convslim.search.space import Space
from convslim.search.storage import told_of_storage

SEARCH = "convslim"


def identity(space: Space, settings: SearchSettings, objective: Objective, extra: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two searches the same: everything that decides on candidates and their fitness.

    Args:
        space: What genomes stand for.
        settings: How the search goes.
        objective: What is maximized.
        extra: What the evaluator depends on.
    """
    values = space.scores.values
    digest = hashlib.sha256(space.graph.structure.encode())
    for name in sorted(values):
        digest.update(name.encode() + np.ascontiguousarray(values[name]).tobytes())
    rounding = space.rounding
    found = {
        "scores": digest.hexdigest()[:20],
        "form": space.form,
        "genes": len(space.genes),
        "limits": [int(limit) for limit in space.limits],
        "rounding": [rounding.round_to, rounding.min_channels, rounding.min_ratio],
        "objective": [objective.kind, objective.weight, *objective.metrics],
        **settings.to_data(),
        **extra,
    }
    return dict(json.loads(json.dumps(found)))


def study_name(found: Mapping[str, Any]) -> str:
    """A name that only the same search has."""
    return "search-" + hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:12]


def open_study(storage: BaseStorage, name: str, found: Mapping[str, Any], num_values: int, where: str) -> optuna.Study:
    """The study of a search, made if there is none.

    Raises:
        ArtifactError: If the storage fails, or the study is that of another search.
    """
    with told_of_storage(where), _silent():
        study = optuna.create_study(
            storage=storage, study_name=name, directions=["maximize"] * num_values, load_if_exists=True
        )
        held = study.user_attrs.get(SEARCH)
        if held is None:
            study.set_user_attr(SEARCH, dict(found))
    if held is not None and held != found:
        changed = [key for key in {**held, **found} if held.get(key) != found.get(key)]
        shown = ", ".join(f"{key}: {held.get(key)!r} → {found.get(key)!r}" for key in changed[:4])
        raise ArtifactError(
            f"The study {name!r} in {where} is that of another search ({shown}). Give the study another name, or "
            "set these back to go on with it."
        )
    return study


def find_study(storage: BaseStorage, name: str, where: str) -> optuna.Study:
    """A study that must be there.

    Raises:
        ArtifactError: If it is not, or the storage fails.
    """
    with told_of_storage(where):
        known = optuna.get_all_study_names(storage)
    if name not in known:
        shown = ", ".join(sorted(known)[:8]) or "none"
        raise ArtifactError(
            f"There is no study {name!r} in {where}; known: {shown}. Start the search first, or give another --study."
        )
    with told_of_storage(where), _silent():
        return optuna.load_study(study_name=name, storage=storage)


@contextmanager
def _silent() -> Iterator[None]:
    """Optuna's messages held back for a while."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
