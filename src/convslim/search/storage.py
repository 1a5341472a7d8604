"""Where searches are kept: a SQLite file, a journal file, or a database server, through Optuna.

SQLite serves many processes of one machine; a journal file, appended to under a lock, also several machines on one file
system; a server any number of them.
"""

from __future__ import annotations

import re
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import Connection, event
from sqlalchemy.exc import SQLAlchemyError

from convslim.errors import ArtifactError

SQLITE_SUFFIXES: Final = (".db", ".sqlite", ".sqlite3")
JOURNAL_SUFFIXES: Final = (".journal", ".log")

LOCK_TIMEOUT: Final = 60.0
"""Seconds to wait for another process that writes into the same SQLite file."""

TROUBLES: Final = (
    SQLAlchemyError,
    sqlite3.Error,
    ImportError,
    optuna.exceptions.OptunaError,
    OSError,
    ValueError,
    KeyError,
    AssertionError,
)
"""What comes out of Optuna where a storage is damaged, locked or gone."""

UNWRITABLE: Final = ("disk is full", "disk I/O error", "readonly", "No space left", "Read-only file system")
"""How SQLite and the operating system say that nothing more can be written; the file itself is sound."""


def open_storage(spec: str | Path, *, make: bool = True, lock_timeout: float = LOCK_TIMEOUT) -> BaseStorage:
    """Open a storage, or make it.

    Args:
        spec: A path ending in ``.db`` (SQLite) or ``.journal`` (journal file), or a URL such as
            ``postgresql://user@host/name``.
        make: False refuses a file that does not exist.
        lock_timeout: Seconds to wait for a locked SQLite file.

    Raises:
        ArtifactError: If it is locked, damaged or cannot be reached, or there is no such kind.
    """
    text = str(spec)
    path = Path(text.removeprefix("sqlite:///"))
    if not make and "://" not in text.removeprefix("sqlite:///") and not path.exists():
        raise ArtifactError(f"There is no file {path}. Start the search first; a finished one needs no workers.")
    with told_of_storage(shown(text)):
        if text.startswith("sqlite:///") or ("://" not in text and path.suffix in SQLITE_SUFFIXES):
            return _sqlite(path, lock_timeout)
        if "://" in text:
            return _closing(RDBStorage(text, engine_kwargs={"pool_pre_ping": True}))
        if path.suffix in JOURNAL_SUFFIXES:
            path.parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(text))
    known = ", ".join((*SQLITE_SUFFIXES, *JOURNAL_SUFFIXES))
    raise ArtifactError(
        f"{shown(text)} is no storage of a search. Give a file that ends in one of {known}, or a URL such as "
        "postgresql://user@host/name."
    )


def shown(spec: str) -> str:
    """A storage as it may be told and recorded: without the password of its URL.

    >>> shown("postgresql://anna:secret@host/name")
    'postgresql://anna:***@host/name'
    >>> shown("runs/search.db")
    'runs/search.db'
    """
    hidden = re.sub(r"(?<=://)([^/@:]*):[^/]*@", r"\1:***@", spec)
    return re.sub(r"([?&]password=)[^&]*", r"\1***", hidden)


@contextmanager
def told_of_storage(where: str) -> Iterator[None]:
    """What goes wrong in a storage becomes an error that names it and the way out.

    Raises:
        ArtifactError: If it is locked, damaged, or cannot be reached.
    """
    try:
        yield
    except TROUBLES as error:
        cause = " ".join(str(error.__cause__ or error).split("\n")[0].split()) or type(error).__name__
        if isinstance(error, ImportError):
            raise ArtifactError(
                f"The storage of the search, {where}, needs a driver that is not installed: {cause}. Install it, or "
                "use a journal file."
            ) from error
        if "locked" in cause or "busy" in cause:
            raise ArtifactError(
                f"The storage of the search, {where}, is locked by another process: {cause}. End that process and go "
                "on, or share a journal file or a database server instead of SQLite. What was evaluated is kept."
            ) from error
        if any(words in cause for words in UNWRITABLE):
            raise ArtifactError(
                f"The storage of the search, {where}, cannot be used: {cause}. Is the disk full, or may the folder "
                "not be written? Free some space, or let it be written, and go on. What was evaluated is kept."
            ) from error
        raise ArtifactError(
            f"The storage of the search, {where}, cannot be used: {type(error).__name__}: {cause}. Is it complete, and "
            "can it be written? Put a copy back, or remove it to search anew."
        ) from error


def _sqlite(path: Path, lock_timeout: float) -> RDBStorage:
    """A SQLite file that is written ahead, so that readers and a writer do not wait for each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=lock_timeout)) as connection:
        found = connection.execute("pragma quick_check(1)").fetchone()
        if found[0] != "ok":
            raise sqlite3.DatabaseError(found[0])
        connection.execute("pragma journal_mode=wal")
    storage = RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": lock_timeout}})
    event.listen(storage.engine, "connect", _safe_without_waiting)
    event.listen(storage.engine, "begin", _alone)
    storage.engine.dispose()  # the connection that is open already was made before
    return _closing(storage)


def _closing(storage: RDBStorage) -> RDBStorage:
    """The same, whose connections are closed with it: Optuna leaves them open."""
    weakref.finalize(storage, storage.engine.dispose)
    return storage


def _safe_without_waiting(connection: Any, record: object) -> None:
    """Let a killed process lose nothing, and a power cut no more than the last candidates."""
    connection.isolation_level = None  # the driver begins no transaction of its own
    connection.execute("pragma synchronous=normal")


def _alone(connection: Connection) -> None:
    """Let no other process write between what a transaction reads and what it writes.

    SQLite does not know Optuna's ``SELECT … FOR UPDATE``: two workers would take the same waiting trial.
    """
    connection.exec_driver_sql("begin immediate")
