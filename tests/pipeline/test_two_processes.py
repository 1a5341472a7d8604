"""A recipe under torchrun, two processes (gloo), against the same recipe in one process."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from convslim.report import RunRecord

SCRIPT = Path(__file__).with_name("two_runs.py")
_spec = importlib.util.spec_from_file_location("two_runs", SCRIPT)
assert _spec is not None
assert _spec.loader is not None
two_runs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(two_runs)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run([*command, str(SCRIPT), str(two)], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    two_runs.main(one)
    return one, two


def kept(folder: Path, place: str) -> dict[str, Any]:
    return json.loads((folder / place / "plan.json").read_text())["kept"]


@pytest.mark.parametrize("name", ["trained", "given"])
def test_the_same_channels(name: str, folders: tuple[Path, Path]):
    one, two = (kept(folder, f"{name}/model") for folder in folders)
    assert one == two
    assert any(len(channels) for channels in one.values())


def test_trained_weights_are_close(folders: tuple[Path, Path]):
    one, two = (load_file(folder / "trained" / "model" / "model.safetensors") for folder in folders)
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-2, atol=1e-4)


def test_what_was_not_trained_is_equal_to_the_bit(folders: tuple[Path, Path]):
    one, two = (
        load_file(folder / "given" / "steps" / "01-prune" / "model" / "model.safetensors") for folder in folders
    )
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_one_process_writes(folders: tuple[Path, Path]):
    """Records are whole, with every image counted once."""
    for folder in folders:
        record = RunRecord.load(folder / "given" / "record.json")
        assert [step.total for step in record.steps] == [360, 360, None]
        assert (folder / "given" / "model.onnx").is_file()
    first, second = (RunRecord.load(folder / "given" / "record.json").steps[0] for folder in folders)
    assert (first.correct, first.confusion) == (second.correct, second.confusion)
