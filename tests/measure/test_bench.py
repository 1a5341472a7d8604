"""`bench`: ratios, what cannot be measured, and doubts about the numbers, on a clock of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from tests.measure.onnx_files import float_file
from torch import nn

import convslim.measure.bench as bench_module
from convslim.errors import ArtifactError
from convslim.measure.bench import bench
from convslim.measure.runtimes import EAGER, ONNX_RUNTIME, OPENVINO, Subject, network, onnx_file, onnx_file_in_openvino


class World:
    """Time passes only in the subjects."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def subject(self, name: str, milliseconds: float, *, noise: float = 0.0, only: int | None = None) -> Subject:
        """Takes so long for every image, every second call longer; `only` takes one batch size."""

        def prepare(batch: int):
            if only not in (None, batch):
                raise ArtifactError(f"batch {only} only")
            state = [0]

            def call() -> None:
                state[0] += 1
                self.now += batch * milliseconds * (1 + noise * (state[0] % 2)) / 1000

            return call

        return Subject(name, "paper", prepare)


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_module, "load", lambda: 0.0)


def test_ratios_are_to_the_first_or_to_the_baseline() -> None:
    world = World()
    subjects = [world.subject("dense", 8), world.subject("pruned", 4), world.subject("int8", 2)]
    found = bench(subjects, batches=(1, 4), threads=2, repeats=7, warmup=1, clock=world)
    assert [(row.name, row.latency.batch) for row in found.rows] == [
        (name, batch) for batch in (1, 4) for name in ("dense", "pruned", "int8")
    ]
    assert [row.speedup for row in found.rows] == pytest.approx([1, 2, 4] * 2)
    assert [row.speedup_p10 for row in found.rows] == pytest.approx([1, 2, 4] * 2)
    assert [row.latency.median_ms for row in found.rows] == pytest.approx([8, 4, 2, 32, 16, 8])
    assert {(row.latency.threads, row.latency.repeats) for row in found.rows} == {(2, 7)}
    assert found.baseline == ("dense", "paper")
    assert found.notes == ()
    other = bench(subjects, repeats=3, baseline="int8", clock=world)
    assert [row.speedup for row in other.rows] == pytest.approx([0.25, 0.5, 1])


def test_what_cannot_be_measured_is_left_out_with_a_reason() -> None:
    world = World()

    def broken(batch: int):
        raise ValueError("no such thing")

    subjects = [world.subject("fixed", 1, only=2), world.subject("any", 1), Subject("broken", "paper", broken)]
    found = bench(subjects, batches=(1, 2), repeats=2, clock=world)
    assert [(row.name, row.latency.batch, row.speedup) for row in found.rows] == [
        ("any", 1, None),
        ("fixed", 2, pytest.approx(1)),
        ("any", 2, pytest.approx(1)),
    ]
    assert [(entry.name, entry.batch, entry.reason) for entry in found.skipped] == [
        ("fixed", 1, "batch 2 only"),
        ("broken", 1, "ValueError: no such thing"),
        ("broken", 2, "ValueError: no such thing"),
    ]
    with pytest.raises(ArtifactError, match="Nothing could be measured: ValueError: no such thing"):
        bench(subjects[2:], clock=world)


def test_an_unknown_baseline_is_named() -> None:
    world = World()
    with pytest.raises(ArtifactError, match=r"'dens' is not among .*: dense, int8\. Did you mean 'dense'\?"):
        bench([world.subject("dense", 1), world.subject("int8", 1)], baseline="dens", clock=world)


def test_noise_and_a_busy_machine_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    monkeypatch.setattr(bench_module, "load", lambda: 1000.0)
    found = bench([world.subject("calm", 1, noise=0.1), world.subject("noisy", 1, noise=2.0)], repeats=10, clock=world)
    assert found.load == 1000.0
    assert "The machine is busy: load 1000.0" in found.notes[0]
    assert "1 of 2 measurements are noisy" in found.notes[1]
    assert "noisy, paper, batch 1" in found.notes[1]


def test_files_and_networks_run(tmp_path: Path) -> None:
    path = float_file(tmp_path / "small.onnx")
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    subjects = [onnx_file(path), network("net", model, torch.zeros(5, 3, 8, 8))]
    found = bench(subjects, batches=(1, 3), repeats=2, warmup=1)
    assert [(row.name, row.runtime, row.latency.batch) for row in found.rows] == [
        (str(path), ONNX_RUNTIME, 1),
        ("net", EAGER, 1),
        (str(path), ONNX_RUNTIME, 3),
        ("net", EAGER, 3),
    ]
    assert model[1].num_batches_tracked == 0
    assert model(torch.zeros(1, 3, 8, 8)).requires_grad


def test_a_runtime_that_is_not_installed_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    path = float_file(tmp_path / "small.onnx")
    found = bench([onnx_file(path), onnx_file_in_openvino(path)], repeats=1)
    assert [row.runtime for row in found.rows] == [ONNX_RUNTIME]
    assert [(entry.runtime, entry.reason) for entry in found.skipped] == [
        (OPENVINO, "OpenVINO is not installed: pip install openvino.")
    ]


def test_a_child_may_end_after_openvino(tmp_path: Path) -> None:
    """Signals are handled on a stack that OpenVINO's cores set, and take with them."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    code = """
        import faulthandler, gc, signal, subprocess, sys
        from pathlib import Path
        from convslim.measure.bench import bench
        from convslim.measure.runtimes import onnx_file_in_openvino

        faulthandler.enable()
        signal.signal(signal.SIGCHLD, lambda *_: None)  # as PyTorch's DataLoader does
        bench([onnx_file_in_openvino(Path(sys.argv[1]))], batches=(1, 2), repeats=1)
        gc.collect()
        subprocess.run([sys.executable, "-c", ""], check=True)
        print("alive")
    """
    path = float_file(tmp_path / "small.onnx")
    done = subprocess.run([sys.executable, "-c", dedent(code), str(path)], capture_output=True, text=True)
    assert done.stdout.split() == ["alive"], f"exit code {done.returncode}: {done.stderr}"


def test_openvino_runs_where_it_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    path = float_file(tmp_path / "small.onnx")
    found = bench([onnx_file_in_openvino(path)], batches=(1, 2), repeats=1)
    assert [row.latency.batch for row in found.rows] == [1, 2]
    assert not found.skipped
