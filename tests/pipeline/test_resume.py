"""A run that was killed with SIGKILL at any moment resumes to the same bits."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from convslim.pipeline import load_recipe, run
from convslim.report import RunRecord

TINY = Path(__file__).with_name("tiny.yaml")
SCRIPT = Path(__file__).with_name("killed_run.py")


def facts(record: RunRecord) -> list[object]:
    """Everything a run found, without times."""
    found: list[object] = []
    for step in record.steps:
        epochs = [
            {key: value for key, value in epoch.items() if key not in ("seconds", "images_per_second")}
            for epoch in step.details.get("epochs", [])
        ]
        rest = {key: value for key, value in step.details.items() if key != "epochs"}
        found.append((step.kind, step.correct, step.loss, step.macs, step.params, epochs, rest))
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, dict[str, torch.Tensor]]:
    """An uninterrupted run: its record and the final weights."""
    out = tmp_path_factory.mktemp("whole")
    record = run(load_recipe(TINY), out, quiet=True)
    return record, load_file(out / "model" / "model.safetensors")


# Flushes: 1 recipe, 2–3 evaluate, 4–… the first training (metrics, checkpoint), later prune, fine-tuning, artifact.
@pytest.mark.parametrize("flush", [1, 5, 9, 20, 28, 36])
def test_killed_run_resumes_to_the_same_bits(
    tmp_path: Path, whole: tuple[RunRecord, dict[str, torch.Tensor]], flush: int
):
    killed = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), str(flush)], capture_output=True, text=True, timeout=120
    )
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    torch.manual_seed(flush)  # the state of the resuming process must not matter
    record = run(load_recipe(TINY), tmp_path, resume=True, quiet=True)
    assert facts(record) == facts(whole[0])
    weights = load_file(tmp_path / "model" / "model.safetensors")
    assert weights.keys() == whole[1].keys()
    assert all(torch.equal(weights[name], whole[1][name]) for name in weights)
    leftovers = [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]
    assert RunRecord.load(tmp_path / "record.json") == record
    assert len(leftovers) <= 1  # the file that was being written when the process died
