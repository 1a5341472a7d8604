"""A search, carried out by as many workers as there are.

Every worker does the same: read the storage, see which generation is open, take one of its candidates, evaluate it,
write what came out. A generation opens when the one before is finished. There is no master: what the next generation
holds follows from the finished ones (:mod:`convslim.search.genetic`).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Any

import optuna

from convslim.search.candidate import candidate_name
from convslim.search.evaluation import Evaluation, Evaluator
from convslim.search.genetic import Draft, bred, survivors
from convslim.search.lease import GRACE, INTERVAL, Watchman, heartbeat
from convslim.search.ledger import TABLE, Book, Ledger, place_of
from convslim.search.objective import Objective
from convslim.search.result import SearchResult, result_of
from convslim.search.sensitivity import Sensitivity, sensitivity, table_drafts
from convslim.search.settings import SearchSettings
from convslim.search.space import Space
from convslim.search.standing import Standing, Watch


@dataclass(frozen=True, eq=False)
class Search:
    """What is searched and how; :meth:`work` does it.

    Attributes:
        space: What genomes stand for.
        objective: What is maximized.
        settings: How the search goes.
        evaluator: Judges plans on images held out of the training set.
        ledger: Where candidates are kept.
        poll: Seconds between two looks where other workers have all that is left.
        interval, grace: Seconds between heartbeats, and without one until a candidate is given to another worker.
    """

    space: Space
    objective: Objective
    settings: SearchSettings
    evaluator: Evaluator
    ledger: Ledger
    poll: float = 1.0
    interval: float = INTERVAL
    grace: float = GRACE
    _drafts: dict[int, list[Draft]] = field(default_factory=dict, repr=False)
    _tables: list[Sensitivity] = field(default_factory=list, repr=False)
    _medians: dict[int, float] = field(default_factory=dict, repr=False)

    def work(self, watch: Watch | None = None) -> SearchResult:
        """Evaluate until the search is over, together with all other workers on it.

        Args:
            watch: Is told after every look at the storage how far the search is.

        Raises:
            ArtifactError: If the storage is locked, damaged or gone.
            ConvslimError: If a candidate cannot be evaluated.
        """
        watchman = Watchman(self.grace)
        while True:
            book = self.ledger.read()
            generation = self._open_generation(book)
            if watch is not None:
                watch(self._standing(book, generation))
            if generation is None:
                return result_of(book, self.space, self.objective, self.settings, self._table(book))
            for running in [running for running in book.running if watchman.left_behind(running)]:
                self.ledger.drop(running.number)
            if not book.waiting:
                slot = self._open_slot(book, generation)
                if slot is None:
                    time.sleep(self.poll)
                    continue
                self.ledger.open(generation, slot, self._draft(book, generation, slot))
            trial = self.ledger.take()
            if trial is not None:
                self._carry_out(trial)

    def _stages(self) -> range:
        return range(TABLE if self.settings.forecasts else 0, self.settings.generations)

    def _open_generation(self, book: Book) -> int | None:
        """The first generation with unfinished slots; None if all are finished, or no new plans are left."""
        for number in self._stages():
            drafts = self._generation(book, number)
            if not drafts:
                return None
            if any((number, slot) not in book.finished for slot in range(len(drafts))):
                return number
        return None

    def _generation(self, book: Book, number: int) -> list[Draft]:
        """The drafts of a generation, whose predecessors are finished."""
        if number not in self._drafts:
            if number == TABLE:
                drafts = table_drafts(self.space, self.settings.table_widths)
            else:
                table = self._table(book)
                forecast = None if table is None else lambda counts: table.fitness(counts, self.objective)
                drafts = bred(self.space, self.settings, book.generations()[:number], forecast)
            self._drafts[number] = drafts
        return self._drafts[number]

    def _draft(self, book: Book, number: int, slot: int) -> Draft:
        return self._generation(book, number)[slot]

    def _table(self, book: Book) -> Sensitivity | None:
        """The finished sensitivity table, where one is used."""
        if not self.settings.forecasts:
            return None
        if not self._tables:
            self._tables.append(sensitivity(self.space, book.generation(TABLE)))
        return self._tables[0]

    def _open_slot(self, book: Book, generation: int) -> int | None:
        """A slot that nobody has; workers start at different ones."""
        num = len(self._drafts[generation])
        slots = [slot for slot in range(num) if (generation, slot) not in {**book.finished, **book.taken}]
        return slots[os.getpid() % len(slots)] if slots else None

    def _carry_out(self, trial: optuna.Trial) -> None:
        """Evaluate a trial, or share the evaluation of the same plan; drop it if another trial has its slot."""
        generation, slot = place_of(trial)
        try:
            book = self.ledger.read()
            if (generation, slot) in book.finished or book.taken.get((generation, slot)) != trial.number:
                self.ledger.drop(trial.number)
                return
            draft = self._draft(book, generation, slot)
            with heartbeat(trial, self.interval):
                result, fitness = self._judged(book, generation, draft)
            self.ledger.finish(trial, result, fitness)
        except BaseException:
            self.ledger.drop(trial.number)
            raise

    def _judged(self, book: Book, generation: int, draft: Draft) -> tuple[dict[str, Any], tuple[float, ...]]:
        """What is written of a candidate."""
        counts, key, costs = draft.counts, self.space.key(draft.counts), self.space.cost(draft.counts)
        same = book.known(key)
        if same is None:
            below = self._hopeless_below(book, generation, costs)
            found = self.evaluator(self.space.plan(counts), hopeless_below=below)
        else:
            found = Evaluation(same.correct, same.total, same.complete, 0.0, same.value)
        fitness = self.objective.values(found.measured, costs)
        result = {
            "widths": list(self.space.widths(counts)),
            "key": key,
            "costs": costs,
            "fitness": list(fitness),
            **found.outcome(),
            "complete": found.complete,
            "seconds": found.seconds,
            "shared_with": None if same is None else candidate_name(same.generation, same.slot),
        }
        return result, fitness

    def _hopeless_below(self, book: Book, generation: int, costs: dict[str, int]) -> float | None:
        """What the median survivor measures; whoever stays below has hardly a chance to be a parent."""
        if generation <= 0 or not self.settings.give_up or not self.objective.single:
            return None
        if generation not in self._medians:
            before = survivors(book.generations()[:generation], self.settings)
            self._medians[generation] = before[len(before) // 2].fitness[0]
        return self.objective.accuracy_for(self._medians[generation], costs)

    def _standing(self, book: Book, generation: int | None) -> Standing:
        known = {number: len(drafts) for number, drafts in self._drafts.items()}
        total = sum(known.get(number, self.settings.population) for number in self._stages())
        ranking = survivors(book.generations(), self.settings)
        best = ranking[0] if ranking and ranking[0].complete else None
        last = self.settings.generations - 1 if generation is None else generation
        return Standing(len(book.finished), total, last, best)
