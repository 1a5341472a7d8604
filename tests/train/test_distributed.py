"""Two processes under torchrun (gloo) against one process with the same global batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.torchrun import torchrun
from tests.train import two_processes

from convslim.data import open_data
from convslim.train import Metrics, evaluate, fit


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    torchrun(Path(two_processes.__file__), folder)
    return folder


@pytest.mark.parametrize("norm", [False, True])
def test_all_processes_end_with_the_same_network(out: Path, norm: bool):
    first, second = (load_file(out / f"norm-{norm}-rank-{rank}.safetensors") for rank in (0, 1))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("norm", [False, True])
def test_two_processes_train_like_one(out: Path, norm: bool):
    source = open_data("digits")
    alone = fit(two_processes.network(norm=norm), source, two_processes.CONFIG, quiet=True)
    together = load_file(out / f"norm-{norm}-rank-0.safetensors")
    for name, value in alone.model.state_dict().items():
        torch.testing.assert_close(together[name], value, rtol=1e-3, atol=1e-5)
    facts = json.loads((out / "facts-0.json").read_text())[str(norm)]
    assert facts["train_loss"] == pytest.approx(alone.history[-1].train_loss, rel=1e-4)


def test_two_processes_are_guided_like_one(out: Path, tmp_path: Path):
    """Adapters too: their gradients are averaged although they are no part of the wrapped network."""
    student = two_processes.network(norm=False)
    options: dict[str, Any] = {"guidance": two_processes.guidance(student), "out": tmp_path, "quiet": True}
    alone = fit(student, open_data("digits"), two_processes.GUIDED, **options)
    first, second = (load_file(out / f"guided-rank-{rank}.safetensors") for rank in (0, 1))
    for name, value in alone.model.state_dict().items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value, rtol=1e-3, atol=1e-5)
    together, lone = (load_file(folder / "training.safetensors") for folder in (out / "guided", tmp_path))
    adapters = [name for name in lone if name.startswith("adapters/")]
    assert adapters
    for name in adapters:
        torch.testing.assert_close(together[name], lone[name], rtol=1e-3, atol=1e-5)


def test_evaluation_sums_over_processes(out: Path):
    first, second = (json.loads((out / f"facts-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    model = two_processes.network(norm=True)
    model.load_state_dict(load_file(out / "norm-True-rank-0.safetensors"))
    alone = evaluate(model, open_data("digits").test)
    assert isinstance(alone, Metrics)
    assert alone.correct == first["True"]["correct"]
    assert alone.predictions is not None
    assert alone.predictions.tolist() == first["True"]["answers"]
