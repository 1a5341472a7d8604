"""Searches on a PostgreSQL server, where there is one: the same result as on a SQLite file."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.search.landscape import Landscape, search, space
from tests.search.postgres import missing, server
from tests.search.test_run import SMALL, facts
from tests.search.test_workers import started

from convslim.errors import ArtifactError
from convslim.search.storage import open_storage

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "a server can be had")
SPACE = space()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server() as url:
        yield url


def test_three_processes_and_one_is_killed(url: str, tmp_path: Path):
    search(url, Landscape(), SMALL, searched=SPACE)  # makes the study, so that all find it
    victim = started(url, 60, tmp_path / "victim")
    while not (tmp_path / "victim").exists():
        time.sleep(0.05)
        assert victim.poll() is None
    others = [started(url, 0.05, tmp_path / f"worker{number}") for number in range(2)]
    while not any((tmp_path / f"worker{number}").exists() for number in range(2)):
        time.sleep(0.05)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    assert [other.wait(timeout=120) for other in others] == [0, 0]
    looked = Landscape()
    result = search(url, looked, SMALL, searched=SPACE).work()
    assert looked.seen == []
    assert facts(result) == facts(search(tmp_path / "alone.db", Landscape(), SMALL, searched=SPACE).work())
    evaluated = [int((tmp_path / f"worker{number}").read_text()) for number in range(2)]
    assert sum(evaluated) == result.num_evaluated == 18


def test_a_server_that_is_gone_is_a_clear_error_without_the_password():
    with server() as url:
        hidden = url.replace("convslim@", "convslim:secret@")
        made = search(hidden, Landscape(), SMALL, searched=SPACE)
        made.ledger.read()
    with pytest.raises(ArtifactError, match="cannot be used") as caught:
        open_storage(hidden)
    assert "secret" not in str(caught.value)
    with pytest.raises(ArtifactError, match="cannot be used"):
        made.work()
