"""A disk that is full, a folder that cannot be written, a clock that goes back: a clear error, and nothing is lost.

Whatever happened, the resumed run must end with the bits of one that nothing happened to.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from convslim.cli import app
from convslim.errors import ArtifactError
from convslim.pipeline import Recipe, load_recipe, parse_recipe, run
from convslim.report import RunRecord

TRAIN = {"epochs": 2, "batch_size": 32, "lr": 0.05, "steps_per_epoch": 4}
RECIPE = {
    "name": "short",
    "threads": 1,
    "model": {"spec": "digits_cnn"},
    "data": {"spec": "digits"},
    "evaluation": {"limit": 64},
    "steps": [
        {"train": TRAIN},
        {"prune": {"criterion": "l1", "budget": {"macs": 0.6}}},
        {"finetune": TRAIN},
    ],
}


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return parse_recipe(RECIPE)


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing happens to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    run(recipe, out, quiet=True)
    return out


def content(folder: Path) -> dict[str, Any]:
    """What a run found and wrote, without times."""
    found: dict[str, Any] = {}
    for place in ("model/model.safetensors", "steps/03-finetune/model/model.safetensors"):
        found[place] = {name: tensor.tolist() for name, tensor in load_file(folder / place).items()}
    found["plan"] = (folder / "model" / "plan.json").read_bytes()
    record = RunRecord.load(folder / "record.json")
    found["steps"] = [(step.kind, step.correct, step.loss, step.macs, step.confusion) for step in record.steps]
    return found


def mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def disk() -> Iterator[Path]:
    """A file system of 64 MB of its own; tests change its size. What a killed test leaves is in no one's way."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the tests mount file systems on Linux only")
    place = Path(tempfile.mkdtemp(prefix="convslim-disk-"))
    try:
        mount("-t", "tmpfs", "-o", "size=64m,mode=755", "tmpfs", str(place))
    except (OSError, AssertionError) as error:
        place.rmdir()
        pytest.skip(f"this system lets the tests mount nothing: {error}")
    yield place
    # Lazily: what a failed search has open is closed when its storage is collected, at some time.
    subprocess.run(["umount", "--lazy", str(place)], check=True)
    place.rmdir()


def remount(disk: Path, options: str) -> None:
    mount("-o", f"remount,{options}", str(disk))


@pytest.mark.parametrize("kilobytes", [300, 700, 1000])
def test_full_disk(kilobytes: int, disk: Path, recipe: Recipe, whole: Path):
    remount(disk, f"size={kilobytes}k")
    with pytest.raises(ArtifactError, match=r"Step \d .*No space left on device"):
        run(recipe, disk / "run", quiet=True)
    assert not [path for path in (disk / "run").rglob("*") if path.name.endswith(".tmp")]
    finished = sorted((disk / "run" / "steps").glob("[0-9]*"))
    remount(disk, "size=64m")
    run(recipe, disk / "run", resume=True, quiet=True)
    assert content(disk / "run") == content(whole)
    assert all(path.exists() for path in finished)


def test_full_disk_at_the_last_file(disk: Path):
    """An ONNX file that does not fit spoils nothing of what is there."""
    data = {**RECIPE, "steps": [RECIPE["steps"][1], {"export": {"latency": None}}]}  # type: ignore[index]
    room = "size=360k"

    def fill(number: int, step: Any) -> None:
        remount(disk, room if number == 1 else "size=64m")

    with pytest.raises(ArtifactError, match=r"Step 2 \(export\): Cannot write .*No space left on device"):
        run(parse_recipe(data), disk / "run", quiet=True, on_step=fill)
    assert (disk / "run" / "steps" / "01-prune").is_dir()
    assert not (disk / "run" / "model.onnx").exists()
    remount(disk, "size=64m")
    record = run(parse_recipe(data), disk / "run", resume=True, quiet=True)
    assert [step.kind for step in record.steps] == ["prune", "export"]
    assert (disk / "run" / "model.onnx").stat().st_size > 100_000


@pytest.mark.parametrize("kilobytes", [16, 200])  # too little for an empty storage; full while candidates come in
def test_full_disk_in_a_search(kilobytes: int, disk: Path, tmp_path: Path):
    """The file of the search cannot grow; what was evaluated counts when there is room again."""
    search = load_recipe(Path(__file__).with_name("search.yaml"))
    whole = run(search, tmp_path / "whole", quiet=True)
    filler = disk / "filler"

    def fill(number: int, step: Any) -> None:
        if number == 1:
            free = os.statvfs(disk)
            filler.write_bytes(bytes(free.f_bavail * free.f_frsize - 1024 * kilobytes))

    with pytest.raises(ArtifactError, match=r"Step 2 \(search\): .*Free some space"):
        run(search, disk / "run", quiet=True, on_step=fill)
    filler.unlink()
    resumed = run(search, disk / "run", resume=True, quiet=True)
    assert plans_of(resumed) == plans_of(whole)
    assert (disk / "run/model/model.safetensors").read_bytes() == (
        tmp_path / "whole/model/model.safetensors"
    ).read_bytes()


def plans_of(record: RunRecord) -> list[tuple[str, list[float]]]:
    """What a search evaluated, in order."""
    return [(each["plan"], each["fitness"]) for each in record.steps[1].details["search"]["candidates"]]


def test_folder_that_became_read_only(disk: Path, recipe: Recipe, whole: Path):
    with pytest.raises(KeyboardInterrupt):
        run(recipe, disk / "run", quiet=True, on_step=interrupted(2))
    before = {path: path.stat().st_size for path in disk.rglob("*") if path.is_file()}
    remount(disk, "ro")
    with pytest.raises(ArtifactError, match=r"Cannot write into .*Choose a folder that you may write to"):
        run(recipe, disk / "run", resume=True, quiet=True)
    assert {path: path.stat().st_size for path in disk.rglob("*") if path.is_file()} == before
    remount(disk, "rw")
    run(recipe, disk / "run", resume=True, quiet=True)
    assert content(disk / "run") == content(whole)


def test_files_that_may_not_grow(recipe: Recipe, tmp_path: Path, whole: Path):
    """The limit that systems set to the size of one file; also where nothing can be mounted."""
    resource = pytest.importorskip("resource")
    (tmp_path / "short.yaml").write_text(json.dumps(RECIPE), encoding="utf-8")  # JSON is YAML
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        done = CliRunner().invoke(app, ["run", str(tmp_path / "short.yaml"), "--out", str(tmp_path / "run"), "-q"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert done.exit_code == 1, done.output
    assert re.search(r"training\.safetensors\s+cannot\s+be\s+written.*free\s+some\s+space", done.output, re.DOTALL)
    run(recipe, tmp_path / "run", resume=True, quiet=True)
    assert content(tmp_path / "run") == content(whole)


def interrupted(number: int) -> Callable[[int, Any], None]:
    def stop(finished: int, step: Any) -> None:
        if finished == number:
            raise KeyboardInterrupt

    return stop


def test_clock_that_goes_back(recipe: Recipe, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch):
    """What is finished is told by names of folders, never by times."""
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "run", quiet=True, on_step=interrupted(2))
    later = time.time() + 10 * 365 * 24 * 3600
    for path in tmp_path.rglob("*"):
        os.utime(path, (later, later))
    now = [time.time()]

    def backwards() -> float:
        now[0] -= 3600.0
        return now[0]

    monkeypatch.setattr(time, "time", backwards)
    record = run(recipe, tmp_path / "run", resume=True, quiet=True)
    assert content(tmp_path / "run") == content(whole)
    assert all(step.seconds >= 0 for step in record.steps)
