"""The measured facts of one run, as JSON."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from convslim.errors import ArtifactError
from convslim.files import replace_text
from convslim.measure.machine import cpu_name
from convslim.report.class_record import ClassRecord, ConfusionRecord, Facts, SampleRecord

PACKAGES = ("convslim", "torch", "numpy", "onnx", "onnxruntime", "lightning-fabric")


class Machine(Facts):
    """Where a run happened: enough to judge its times, nothing that names the computer."""

    cpu: str
    cores: int
    system: str
    python: str
    accelerator: str | None = None

    @classmethod
    def here(cls) -> Machine:
        """This machine."""
        import torch

        return cls(
            cpu=cpu_name(),
            cores=os.cpu_count() or 1,
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            accelerator=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        )


class LatencyRecord(Facts):
    """Latency of one file: milliseconds a call of `batch` images, ONNX Runtime on the CPU."""

    name: str
    batch: int
    threads: int
    repeats: int
    median_ms: float
    p10_ms: float
    p90_ms: float
    min_ms: float


class StepRecord(Facts):
    """One step: what it was told, how long it took, and the network after it.

    `correct` of `total` test images and the mean `loss` are of float32 unless the step's configuration says
    otherwise; `macs` and `params` count one sample. What the task measures is `measure`; where it is not the accuracy,
    `value` has it: the mean average precision of a detector, whose `classes` say more. Of a classifier `confusion`
    and `samples` do; records of earlier versions have none. `details` holds what only this kind of step knows.
    """

    kind: str
    config: dict[str, Any]
    seconds: float
    macs: int
    params: int
    correct: int | None = None
    total: int | None = None
    loss: float | None = None
    measure: str = "accuracy"
    value: float | None = None
    eleven_point: float | None = None
    coco: dict[str, float | None] | None = None
    classes: tuple[ClassRecord, ...] = ()
    confusion: ConfusionRecord | None = None
    samples: tuple[SampleRecord, ...] = ()
    latency: tuple[LatencyRecord, ...] = ()
    details: dict[str, Any] = Field(default_factory=dict)

    @property
    def accuracy(self) -> float | None:
        """Share of correct test images, 0…1, where the step was evaluated."""
        return None if self.correct is None or not self.total else self.correct / self.total

    @property
    def measured(self) -> float | None:
        """What `measure` names, 0…1, where the step was evaluated."""
        return self.accuracy if self.value is None else self.value

    @property
    def images(self) -> str:
        """Test images behind the measure: `355/360` where images are right or wrong, else their number."""
        if self.total is None:
            return "–"
        return str(self.total) if self.correct is None else f"{self.correct}/{self.total}"


class RunRecord(Facts):
    """Everything that a run measured.

    `recipe` is the recipe with all defaults filled in; `base_macs` and `base_params` are of the network before
    the first step; `data_notes` say what was odd in the data's files.
    """

    format: int = 1
    name: str
    seed: int
    recipe: dict[str, Any]
    versions: dict[str, str]
    machine: Machine
    base_macs: int
    base_params: int
    data_notes: tuple[str, ...] = ()
    steps: tuple[StepRecord, ...] = ()

    def save(self, path: Path) -> None:
        """Write the record as JSON, atomically.

        Raises:
            ArtifactError: the file cannot be written.
        """
        text = self.model_dump_json(indent=2) + "\n"
        replace_text(path, text)

    @classmethod
    def load(cls, path: Path) -> RunRecord:
        """Read a record.

        Raises:
            ArtifactError: the file is missing or no record of this version.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            raise ArtifactError(
                f"Cannot read the run record {path}: {error}. Give the record.json of a convslim run."
            ) from error


def versions() -> dict[str, str]:
    """Versions of convslim and of the packages that decide its numbers."""
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
