"""Writing files so that a reader finds either the old content or the new one, whole, whatever happens in between."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from convslim.errors import ArtifactError


def replace_file(path: Path, write: Callable[[Path], object]) -> Path:
    """Let ``write`` fill a file beside ``path``, then put it in its place by one rename.

    Raises:
        ArtifactError: The folder cannot be written or the disk is full; the old file is still in place.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path} cannot be written: {error}. Choose another folder, or free some space.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return path


def replace_text(path: Path, text: str) -> Path:
    """:func:`replace_file` with UTF-8 text."""
    return replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
