"""Searches on a PostgreSQL server, where there is one: the same result as on a SQLite file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.search.landscape import Landscape, search, space
from tests.search.postgres import missing, server
from tests.search.test_run import SMALL
from tests.search.test_workers import one_of_three_is_killed

from convslim.errors import ArtifactError
from convslim.search.storage import open_storage

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "a server can be had")
SPACE = space()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server() as url:
        yield url


def test_three_processes_and_one_is_killed(url: str, tmp_path: Path):
    one_of_three_is_killed(url, tmp_path, tmp_path / "alone.db")


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
