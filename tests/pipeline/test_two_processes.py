"""A recipe under torchrun, two processes (gloo), against the same recipe in one process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.pipeline import two_runs
from tests.torchrun import torchrun

from convslim.report import RunRecord


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    torchrun(Path(two_runs.__file__), two)
    two_runs.main(one)
    return one, two


def kept(folder: Path, place: str) -> dict[str, Any]:
    return json.loads((folder / place / "plan.json").read_text())["kept"]


@pytest.mark.parametrize("name", two_runs.RECIPES)
def test_the_same_channels(name: str, folders: tuple[Path, Path]):
    one, two = (kept(folder, f"{name}/model") for folder in folders)
    assert one == two
    assert any(len(channels) for channels in one.values())


def test_trained_weights_are_close(folders: tuple[Path, Path]):
    one, two = (load_file(folder / "plain" / "model" / "model.safetensors") for folder in folders)
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-2, atol=1e-4)


def test_weights_and_statistics_are_close_with_batchnorm(folders: tuple[Path, Path]):
    """After the first step; with the statistics of shares, running means differ by 4 % to 15 %."""
    place = Path("normalized", "steps", "01-train", "model", "model.safetensors")
    one, two = (load_file(folder / place) for folder in folders)
    assert one.keys() == two.keys()
    for name in (name for name in one if name.endswith(("weight", "running_mean", "running_var"))):
        assert (two[name] - one[name]).norm() < 0.01 * one[name].norm(), name


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
