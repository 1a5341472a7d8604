"""What a run left in its folder, as far as its report needs it: plain data, read without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from convslim.errors import ArtifactError
from convslim.report.record import RunRecord

RECORD, RECIPE = "record.json", "recipe.json"
ORIGINAL: Final = "original.onnx"
"""The file of the network that a run began with, beside those of the smaller one."""


@dataclass(frozen=True)
class RunFiles:
    """One run.

    Attributes:
        name: What tells it from the others of a comparison: the recipe's name, and the folder's where they share it.
        record: Everything that was measured.
        sizes: Bytes of the files that can be deployed, by their names in the folder.
        kept: Indices of the channels that stayed, by group of the original network; empty without a cut.
        channels: Channels of these groups before.
    """

    name: str
    record: RunRecord
    sizes: Mapping[str, int] = field(default_factory=dict)
    kept: Mapping[str, Sequence[int]] = field(default_factory=dict)
    channels: Mapping[str, int] = field(default_factory=dict)


class _Plan(BaseModel):
    """The part of a plan that says which channels stayed."""

    model_config = ConfigDict(extra="ignore")

    channels: dict[str, int]
    kept: dict[str, list[int]]


def read_run(path: Path) -> RunFiles:
    """Read a run.

    Args:
        path: The folder of a run, or the record in it.

    Raises:
        ArtifactError: there is no run, no step of it is finished, or a file is damaged.
    """
    folder = path.parent if path.name == RECORD else path
    if not (folder / RECORD).is_file() and (folder / RECIPE).is_file():
        raise ArtifactError(
            f"No step of the run in {folder} is finished, so there is nothing to show. Let it go on with "
            f"convslim run {folder / RECIPE} --out {folder} --resume."
        )
    record = RunRecord.load(folder / RECORD)
    plan = _plan(folder / "model" / "plan.json")
    files = [*sorted(folder.glob("*.onnx")), folder / "model" / "model.safetensors"]
    sizes = {file.relative_to(folder).as_posix(): file.stat().st_size for file in files if file.is_file()}
    return RunFiles(record.name, record, sizes, plan.kept, plan.channels)


def read_runs(paths: Sequence[Path]) -> tuple[RunFiles, ...]:
    """Read several runs, each under a name of its own.

    Raises:
        ArtifactError: as :func:`read_run`, or a run is given twice.
    """
    folders = [(path.parent if path.name == RECORD else path).resolve() for path in paths]
    for place, folder in enumerate(folders):
        if folder in folders[:place]:
            raise ArtifactError(f"{paths[place]} is given twice. Give every run once.")
    runs = [read_run(path) for path in paths]
    names = [run.name for run in runs]
    return tuple(
        run if names.count(run.name) == 1 else RunFiles(_told(folder, folders), *_rest(run))
        for run, folder in zip(runs, folders, strict=True)
    )


def _rest(run: RunFiles) -> tuple[RunRecord, Mapping[str, int], Mapping[str, Sequence[int]], Mapping[str, int]]:
    return run.record, run.sizes, run.kept, run.channels


def _told(folder: Path, folders: Sequence[Path]) -> str:
    """As much of the end of a path as tells it from the others."""
    for length in range(1, len(folder.parts) + 1):
        tails = [other.parts[-length:] for other in folders]
        if tails.count(folder.parts[-length:]) == 1:
            return "/".join(folder.parts[-length:])
    return folder.as_posix()


def _plan(path: Path) -> _Plan:
    if not path.is_file():
        return _Plan(channels={}, kept={})
    try:
        return _Plan.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise ArtifactError(f"The plan {path} is damaged: {error}. Copy the run's folder again.") from error
