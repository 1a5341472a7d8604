"""The trials of a search in its storage, read as generations and written candidate by candidate.

A trial is one attempt at one slot of one generation. Which one it is, its genome and its parents are written when it is
made, in one transaction; its evaluation when it is finished. A slot that has no finished, running or waiting trial is
open, whatever happened to earlier ones, so nothing has to be put back after a kill. If two workers opened the same slot
at the same moment, the earlier trial counts and the later one is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from convslim.search.candidate import Candidate
from convslim.search.genetic import Draft
from convslim.search.lease import WORKER, this_worker
from convslim.search.space import Space
from convslim.search.storage import told_of_storage

PLACE, RESULT = "candidate", "result"

TABLE: Final = -1
"""The generation of the measurements of a sensitivity table."""

OPEN_STATES: Final = (TrialState.WAITING, TrialState.RUNNING)


@dataclass(frozen=True, eq=False)
class Book:
    """What a storage holds of a search.

    Attributes:
        finished: Candidates by generation and slot.
        taken: Slots that wait or are worked on.
        waiting: True if a trial waits for a worker.
        running: The trials that are worked on.
    """

    finished: Mapping[tuple[int, int], Candidate]
    taken: Mapping[tuple[int, int], int]
    waiting: bool
    running: tuple[FrozenTrial, ...]

    def generation(self, number: int) -> list[Candidate]:
        """The finished candidates of a generation, by slot."""
        return [self.finished[place] for place in sorted(self.finished) if place[0] == number]

    def generations(self) -> list[list[Candidate]]:
        """The finished candidates of all generations, without the sensitivity table."""
        found: list[list[Candidate]] = []
        for generation, slot in sorted(place for place in self.finished if place[0] != TABLE):
            found += [[] for _ in range(generation + 1 - len(found))]
            found[generation].append(self.finished[generation, slot])
        return found

    def known(self, key: str) -> Candidate | None:
        """The first finished candidate with this plan."""
        found = [place for place, candidate in self.finished.items() if candidate.key == key]
        return self.finished[min(found)] if found else None


class Ledger:
    """A study of Optuna, as a search uses it.

    Args:
        study: The study.
        space: Gives the trials' parameters their names and bounds.
        where: The storage, for errors.
    """

    def __init__(self, study: optuna.Study, space: Space, where: str) -> None:
        self.study, self.space, self.where = study, space, where
        self._candidates: dict[int, Candidate] = {}  # finished trials do not change

    def read(self) -> Book:
        """All trials.

        Raises:
            ArtifactError: If the storage is locked, damaged or gone.
        """
        finished: dict[tuple[int, int], Candidate] = {}
        taken: dict[tuple[int, int], int] = {}
        running, waiting = [], False
        with told_of_storage(self.where):
            trials = self.study.get_trials(deepcopy=False)
            for trial in trials:
                place = _place(trial)
                if place is None:
                    continue
                if trial.state == TrialState.COMPLETE:
                    if trial.number not in self._candidates:
                        self._candidates[trial.number] = _candidate(trial)
                    finished.setdefault(place, self._candidates[trial.number])
                elif trial.state in OPEN_STATES:
                    taken.setdefault(place, trial.number)
                    waiting |= trial.state == TrialState.WAITING
                    running += [trial] if trial.state == TrialState.RUNNING else []
        return Book(finished, taken, waiting, tuple(running))

    def open(self, generation: int, slot: int, draft: Draft) -> None:
        """Make the trial of a slot."""
        low, high = self.space.bounds
        params: dict[str, float] = {}
        if draft.genome is not None:
            params = dict(zip(self.space.genes, draft.genome.tolist(), strict=True))
        distributions: dict[str, BaseDistribution] = {name: FloatDistribution(low, high) for name in params}
        place = {"generation": generation, "slot": slot, "parents": list(draft.parents), "forecast": draft.forecast}
        with told_of_storage(self.where):
            self.study.add_trial(
                optuna.create_trial(
                    state=TrialState.WAITING, params=params, distributions=distributions, user_attrs={PLACE: place}
                )
            )

    def take(self) -> optuna.Trial | None:
        """A waiting trial, now this worker's; None if others were faster."""
        with told_of_storage(self.where):
            trial = self.study.ask()
            if PLACE not in trial.user_attrs:  # nothing waited, so Optuna made a trial of its own
                self.study.tell(trial, state=TrialState.FAIL)
                return None
            trial.set_user_attr(WORKER, this_worker())
            return trial

    def finish(self, trial: optuna.Trial, result: Mapping[str, Any], fitness: Sequence[float]) -> None:
        """Write an evaluation. If the trial was given to somebody else meanwhile, theirs counts."""
        with told_of_storage(self.where):
            try:
                trial.set_user_attr(RESULT, dict(result))
                self.study.tell(trial, list(fitness))
            except (UpdateFinishedTrialError, ValueError):
                if self._state(trial.number) in OPEN_STATES:
                    raise

    def drop(self, number: int) -> None:
        """Give a trial up, unless somebody did or finished it; its slot is open again unless another trial has it."""
        with told_of_storage(self.where), suppress(UpdateFinishedTrialError):  # between the look and the change
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def _state(self, number: int) -> TrialState:
        return next(trial.state for trial in self.study.get_trials(deepcopy=False) if trial.number == number)


def _place(trial: FrozenTrial) -> tuple[int, int] | None:
    found = trial.user_attrs.get(PLACE)
    return None if found is None else (int(found["generation"]), int(found["slot"]))


def place_of(trial: optuna.Trial) -> tuple[int, int]:
    """Generation and slot of a trial that was taken."""
    found = trial.user_attrs[PLACE]
    return int(found["generation"]), int(found["slot"])


def _candidate(trial: FrozenTrial) -> Candidate:
    place, result = trial.user_attrs[PLACE], trial.user_attrs[RESULT]
    return Candidate(
        generation=place["generation"],
        slot=place["slot"],
        genome=dict(trial.params),
        widths=tuple(result["widths"]),
        key=result["key"],
        costs=result["costs"],
        parents=tuple(place["parents"]),
        fitness=tuple(result["fitness"]),
        correct=result["correct"],
        total=result["total"],
        complete=result["complete"],
        seconds=result["seconds"],
        shared_with=result["shared_with"],
        forecast=place["forecast"],
        value=result.get("value"),
    )
