"""Measured times of layer shapes, kept on disk: every shape is measured once on a machine."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from convslim.errors import ArtifactError
from convslim.files import replace_text
from convslim.measure.layer_shape import LayerShape
from convslim.measure.machine import Identity

Measure = Callable[[LayerShape], float]
"""Milliseconds of one layer."""

OnStart = Callable[[int], Callable[[], object]]
"""Gets the number of measurements to come, and returns what to call after each."""

ROUNDS = 2
"""Every shape is measured so often, with all others in between; the fastest counts."""


class CacheWarning(UserWarning):
    """The cache of measured layers has damaged lines, or cannot be written; what it lacks is measured again."""


@dataclass(frozen=True)
class LayerTable:
    """Milliseconds by layer shape, for one machine and one kind of arithmetic.

    Attributes:
        identity: The machine and runtime; entries of others are ignored.
        mode: The arithmetic, ``"float32"`` or ``"int8"``.
        measure: Measures one shape.
        folder: Where the cache is; None keeps nothing.

    >>> table = LayerTable(Identity("some", 2, "runtime 1", 1), "float32", lambda shape: shape.out_channels / 8, None)
    >>> table.times([LayerShape("linear", 1, 64, 8)])
    {LayerShape(kind='linear', batch=1, in_channels=64, out_channels=8, ...): 1.0}
    """

    identity: Identity
    mode: str
    measure: Measure
    folder: Path | None

    def times(self, shapes: Iterable[LayerShape], *, on_start: OnStart | None = None) -> dict[LayerShape, float]:
        """Milliseconds of every shape; those that the cache lacks are measured and added to it.

        Args:
            on_start: gets the number of measurements to come and returns what to call after each.
        """
        wanted = list(dict.fromkeys(shapes))
        known = self._read()
        missing = [shape for shape in wanted if shape not in known]
        found: dict[LayerShape, float] = {}
        step = on_start(ROUNDS * len(missing)) if on_start is not None and missing else None
        for turn in range(ROUNDS):
            # The other way round: what drifts hits first and last alike.
            for shape in missing if turn % 2 == 0 else reversed(missing):
                found[shape] = min(self.measure(shape), found.get(shape, float("inf")))
                if step is not None:
                    step()
        if found:
            self._keep(found)
        known |= found
        return {shape: known[shape] for shape in wanted}

    @property
    def path(self) -> Path | None:
        """The cache file of this machine, runtime and arithmetic."""
        if self.folder is None:
            return None
        key = hashlib.sha256(json.dumps(self._key(), sort_keys=True).encode()).hexdigest()[:16]
        return self.folder / f"layers-{key}.jsonl"

    def _key(self) -> dict[str, object]:
        return {**asdict(self.identity), "mode": self.mode}

    def _read(self) -> dict[LayerShape, float]:
        """What the cache knows; lines that are damaged or another machine's do not count."""
        if self.path is None:
            return {}
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:  # not there yet, or not for us to read
            return {}
        known: dict[LayerShape, float] = {}
        damaged = 0
        for line in lines:
            try:
                entry = json.loads(line)
                if entry["machine"] == self._key():
                    known[LayerShape.from_data(entry["shape"])] = _positive(entry["ms"])
            except (ValueError, TypeError, KeyError, AssertionError):
                damaged += 1
        if damaged:
            warnings.warn(
                f"{self.path} has {damaged} damaged lines; they are left out, and their layers measured again.",
                CacheWarning,
                stacklevel=3,
            )
        return known

    def _keep(self, found: Mapping[LayerShape, float]) -> None:
        """Add to the cache, if that can be."""
        if self.path is None:
            return
        try:
            self._add(self.path, found)
        except (OSError, ArtifactError) as error:
            warnings.warn(
                f"Measured layers cannot be kept in {self.path.parent}: {error} They will be measured again.",
                CacheWarning,
                stacklevel=3,
            )

    def _add(self, path: Path, found: Mapping[LayerShape, float]) -> None:
        """Put new times beside those that are there, also by another process since."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")), warnings.catch_warnings():
            warnings.simplefilter("ignore", CacheWarning)  # told when the table was read
            known = self._read() | dict(found)
            lines = (
                json.dumps({"machine": self._key(), "shape": shape.to_data(), "ms": ms}) for shape, ms in known.items()
            )
            replace_text(path, "".join(f"{line}\n" for line in lines))


def _positive(value: object) -> float:
    if not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError(f"{value!r} is no time")
    return float(value)


def cache_folder() -> Path:
    """Where measured times are kept: ``$XDG_CACHE_HOME/convslim``, or ``~/.cache/convslim``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "convslim"
