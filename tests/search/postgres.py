"""A PostgreSQL server for the time of a test, where its programs and a driver are installed."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

USER = "postgres"
"""Who runs the server where the tests run as root, which the server refuses to."""


def missing() -> str:
    """Why there can be no server here; empty if there can."""
    if importlib.util.find_spec("psycopg") is None:
        return "the driver psycopg is not installed"
    if _program("initdb") is None or _program("pg_ctl") is None:
        return "no PostgreSQL server is installed"
    if os.geteuid() == 0 and USER not in (entry.pw_name for entry in pwd.getpwall()):
        return f"a server does not run as root, and there is no user {USER}"
    return ""


def _program(name: str) -> str | None:
    """Servers of Debian keep their programs off the path."""
    places = sorted(str(path) for path in Path("/usr/lib/postgresql").glob("*/bin"))
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *places]))


@contextmanager
def server() -> Iterator[str]:
    """The URL of a database of a fresh server, reached by a socket in its own folder.

    The server is made for tests: it writes without waiting for the disk.
    """
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: a socket's path has a hundred characters at most
    user = USER if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user)
    data, log = folder / "data", folder / "log"
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    control = [str(_program("pg_ctl")), "-D", str(data), "-l", str(log), "-w", "-t", "60"]
    try:
        _call([str(_program("initdb")), "-D", str(data), "-A", "trust", "-U", "convslim", "-E", "UTF8"], user, folder)
        _call([*control, "-o", options, "start"], user, folder)
        try:
            yield f"postgresql://convslim@/postgres?host={folder}"
        finally:
            _call([*control, "-m", "immediate", "stop"], user, folder)
    finally:
        shutil.rmtree(folder)


def _call(command: list[str], user: str | None, folder: Path) -> None:
    # Not a pipe: the server inherits it, and reading would wait for the server's end.
    subprocess.run(command, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=120)
