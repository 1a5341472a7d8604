"""The folder of a run: which steps are finished, what they left, and who may write.

    recipe.json              the recipe with all defaults filled in
    steps/02-train/          a finished step: result.json, model/ if the network changed, metrics.jsonl;
                             predictions.safetensors, a classifier's answers to the test images;
                             gfr.json if the network has relation modules; uncut/ if a changed network was cut
    steps/.02-train/         the step in work, with its training checkpoint
    record.json  model/      the record and the network of the whole run; report.html, written by the command line

A finished step appears by one rename, so a run can be killed at any moment.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError
from torch import nn

from convslim.errors import ArtifactError, RecipeError
from convslim.files import replace_text
from convslim.pipeline.pictures import FOLDER as PICTURES
from convslim.pipeline.state import Outcome, State
from convslim.report import StepRecord
from convslim.report.write import PAGE
from convslim.sparsity import Relations, insert_relations_, relations_in
from convslim.surgery.artifact import load, save
from convslim.surgery.plan import PruningPlan
from convslim.train.history import CHECKPOINT

RELATIONS, UNCUT = "gfr.json", "uncut"
RECIPE, RECORD, RESULT, MODEL, STEPS, LOCK = (
    "recipe.json",
    "record.json",
    "result.json",
    "model",
    "steps",
    ".lock",
)


class RunFolder:
    """One run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out of the folder; a killed run's lock falls by itself.

        Raises:
            ArtifactError: another run works in the folder, or it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / LOCK)
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ArtifactError(
                f"Another run works in {self.path}. Wait for it, or give another folder with --out."
            ) from error
        except OSError as error:
            raise ArtifactError(
                f"Cannot write into {self.path}: {error}. Choose a folder that you may write to."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def prepare(self, recipe: Mapping[str, Any], *, resume: bool, overwrite: bool) -> None:
        """Make the folder ready for a run of this recipe.

        Raises:
            ArtifactError: it holds something and neither `resume` nor `overwrite` is given, or it holds
                something that is no run.
            RecipeError: `resume`, and the recipe is not the one that the folder was made with.
        """
        holds = [entry.name for entry in self.path.iterdir() if not entry.name.startswith((LOCK, f".{RECIPE}"))]
        # A recipe alone is a run that was refused before its first step: there is nothing to lose.
        is_run = (self.path / RECIPE).is_file() and holds != [RECIPE]
        holds = [] if holds == [RECIPE] else holds
        if holds and not is_run:
            raise ArtifactError(
                f"{self.path} is not empty ({', '.join(sorted(holds)[:3])}) and is no convslim run. "
                "Give an empty or new folder with --out."
            )
        if is_run and overwrite:
            self._clear()
        elif is_run and resume:
            _check_same(self._read_json(self.path / RECIPE), recipe, self.path)
        elif is_run:
            raise ArtifactError(
                f"{self.path} already holds a run. Go on with --resume, start again with --overwrite, or give "
                "another folder with --out."
            )
        text = json.dumps(recipe, indent=2) + "\n"
        replace_text(self.path / RECIPE, text)

    def work(self, number: int, kind: str) -> Path:
        """Folder of a step in work."""
        return self.path / STEPS / f".{number:02d}-{kind}"

    def finished(self, number: int, kind: str) -> Path:
        """Folder of a finished step."""
        return self.path / STEPS / f"{number:02d}-{kind}"

    def finish(self, number: int, kind: str, outcome: Outcome, plan: PruningPlan | None, record: StepRecord) -> None:
        """Save what a step left; afterwards it counts as finished.

        Raises:
            ArtifactError: the folder cannot be written.
        """
        work, finished = self.work(number, kind), self.finished(number, kind)
        if outcome.model is not None:
            save(outcome.model, work / MODEL, plan=plan)
            relations = relations_in(outcome.model)
            if relations is not None:
                replace_text(work / RELATIONS, json.dumps(relations.to_data()))
        if outcome.uncut is not None:
            save(outcome.uncut, work / UNCUT)
        text = record.model_dump_json(indent=2) + "\n"
        replace_text(work / RESULT, text)
        try:
            work.rename(finished)
            (finished / CHECKPOINT).unlink(missing_ok=True)
        except OSError as error:
            raise ArtifactError(f"Cannot write {finished}: {error}. Free some space and --resume.") from error

    def read(self, number: int, kind: str, before: State, factory: Callable[[], nn.Module]) -> tuple[State, StepRecord]:
        """The state after a finished step, and its record.

        Raises:
            ArtifactError: something in the folder is damaged.
        """
        finished = self.finished(number, kind)
        try:
            record = StepRecord.model_validate_json((finished / RESULT).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            raise ArtifactError(
                f"{finished / RESULT} is damaged: {error}. Remove the folder {finished} and --resume."
            ) from error
        if not (finished / MODEL).exists():
            return before, record
        plan_file = finished / MODEL / "plan.json"
        plan = PruningPlan.load(plan_file) if plan_file.exists() else None
        uncut = load(finished / UNCUT, factory) if (finished / UNCUT).exists() else None
        return State(load(finished / MODEL, self._with_relations(finished, factory)), plan, uncut), record

    def _with_relations(self, finished: Path, factory: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        """The factory of a network that has relation modules if the step's network had some."""
        if not (finished / RELATIONS).exists():
            return factory
        relations = Relations.from_data(self._read_json(finished / RELATIONS))
        return lambda: insert_relations_(factory(), relations)

    def _clear(self) -> None:
        """Remove what an earlier run left, and nothing else."""
        for name in (STEPS, MODEL, PICTURES):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for file in [self.path / RECORD, self.path / RECIPE, self.path / PAGE, *self.path.glob("*.onnx")]:
            file.unlink(missing_ok=True)

    @staticmethod
    def _read_json(path: Path) -> Any:
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ArtifactError(f"{path} is damaged: {error}. Start again with --overwrite.") from error


def _check_same(then: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """Refuse to resume under another recipe, and say what changed."""
    before, after = _flat(then), _flat(now)
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    if changed:
        shown = "\n".join(
            f"  {key}: {before.get(key, 'absent')!r} → {after.get(key, 'absent')!r}" for key in changed[:8]
        )
        raise RecipeError(
            f"The recipe is not the one that {path} was made with:\n{shown}\nSet it back to resume, start again "
            "with --overwrite, or give another folder with --out."
        )


def _flat(data: Any, path: str = "") -> dict[str, Any]:
    """Leaves of nested data by dotted path, list items numbered from 1."""
    if isinstance(data, dict) and data:
        items = [(str(key), value) for key, value in data.items()]
    elif isinstance(data, list) and data:
        items = [(str(number), value) for number, value in enumerate(data, start=1)]
    else:
        return {path: data}
    leaves: dict[str, Any] = {}
    for key, value in items:
        leaves |= _flat(value, f"{path}.{key}" if path else key)
    return leaves
