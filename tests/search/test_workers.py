"""Several processes on one search, one of them killed: the result of one process, and nothing evaluated for nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from tests.search.landscape import Landscape, search, space
from tests.search.test_run import SMALL, facts

from convslim.search.lease import BEAT, WORKER, Watchman, is_gone, this_worker
from convslim.search.ledger import PLACE

ROOT = Path(__file__).parents[2]
SPACE = space()


def started(storage: str | Path, seconds: float, file: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.search.landscape_worker", str(storage), str(seconds), str(file)]
    return subprocess.Popen(command, cwd=ROOT)


def one_of_three_is_killed(storage: str | Path, folder: Path, alone: Path) -> None:
    """Three processes on a storage, one killed while it evaluates: the result of one process on another storage."""
    search(storage, Landscape(), SMALL, searched=SPACE)  # makes the study, so that all find it
    victim = started(storage, 60, folder / "victim")
    while not (folder / "victim").exists():
        time.sleep(0.05)
        assert victim.poll() is None
    others = [started(storage, 0.05, folder / f"worker{number}") for number in range(2)]
    while not any((folder / f"worker{number}").exists() for number in range(2)):
        time.sleep(0.05)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    assert [other.wait(timeout=120) for other in others] == [0, 0]
    looked = Landscape()
    result = search(storage, looked, SMALL, searched=SPACE).work()
    assert looked.seen == []
    assert facts(result) == facts(search(alone, Landscape(), SMALL, searched=SPACE).work())
    evaluated = [int((folder / f"worker{number}").read_text()) for number in range(2)]
    assert sum(evaluated) == result.num_evaluated == 18  # the victim's candidate is one of them


def test_three_processes_and_one_is_killed(tmp_path: Path):
    one_of_three_is_killed(tmp_path / "search.db", tmp_path, tmp_path / "alone.journal")


def test_a_process_that_ended_is_gone_and_this_one_is_not():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_gone({**this_worker(), "pid": ended.pid})
    assert not is_gone(this_worker())
    assert is_gone({**this_worker(), "token": "of an earlier process with this number"})
    assert not is_gone({**this_worker(), "host": "elsewhere", "pid": ended.pid})
    assert this_worker()["pid"] == os.getpid()


def running(worker: dict[str, object], beat: int) -> optuna.trial.FrozenTrial:
    trial = optuna.create_trial(state=TrialState.RUNNING, user_attrs={WORKER: worker, BEAT: beat, PLACE: {}})
    trial.number = 3
    return trial


def test_without_heartbeats_a_trial_of_another_machine_is_left_behind(monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr("convslim.search.lease.time.monotonic", lambda: now[0])
    watchman, elsewhere = Watchman(grace=60), {**this_worker(), "host": "elsewhere"}
    assert not watchman.left_behind(running(elsewhere, 1))
    now[0] = 50
    assert not watchman.left_behind(running(elsewhere, 2))  # it lives
    now[0] = 105
    assert not watchman.left_behind(running(elsewhere, 2))
    now[0] = 111
    assert watchman.left_behind(running(elsewhere, 2))


def test_heartbeats_are_written_while_a_candidate_is_evaluated(tmp_path: Path):
    made = search(tmp_path / "a.journal", Landscape(sleep=0.1), SMALL, searched=SPACE, interval=0.02)
    made._drafts[1] = []  # the first generation is enough
    made.work()
    trials = made.ledger.study.get_trials(deepcopy=False)
    assert all(trial.user_attrs[BEAT] >= 1 for trial in trials)
    assert all(trial.user_attrs[WORKER] == this_worker() for trial in trials)


def test_what_a_worker_writes_too_late_is_left_out(tmp_path: Path):
    """A worker that was taken for dead finishes after another one took its slot over."""
    storage = tmp_path / "a.journal"
    first = search(storage, Landscape(), SMALL, searched=SPACE)
    book = first.ledger.read()
    first.ledger.open(0, 0, first._draft(book, 0, 0))
    slow = first.ledger.take()
    assert slow is not None
    first.ledger.drop(slow.number)
    result = search(storage, Landscape(), SMALL, searched=SPACE).work()
    first.ledger.finish(slow, {"key": "late"}, [1.0])
    again = search(storage, Landscape(), SMALL, searched=SPACE).work()
    assert facts(again) == facts(result)


def test_a_trial_that_two_workers_give_up_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Both found it left behind; the slower one's look came before the faster one's change."""
    first = search(tmp_path / "a.journal", Landscape(), SMALL, searched=SPACE)
    first.ledger.open(0, 0, first._draft(first.ledger.read(), 0, 0))
    left = first.ledger.take()
    assert left is not None
    second = search(tmp_path / "a.journal", Landscape(), SMALL, searched=SPACE)
    seen = second.ledger.study._storage.get_trial(left._trial_id)
    first.ledger.drop(left.number)
    monkeypatch.setattr("optuna.study._tell._get_frozen_trial", lambda *arguments: seen)
    second.ledger.drop(left.number)
    monkeypatch.undo()
    assert second.ledger.read().taken == {}
