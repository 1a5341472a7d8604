"""Several files and networks side by side: latency for every batch size, and the ratio to one of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from convslim.errors import ArtifactError, nearest
from convslim.measure.latency import NOISY, Latency, summary
from convslim.measure.machine import busy_note, cpu_name, load
from convslim.measure.runtimes import Call, Subject
from convslim.measure.turns import Clock, time_in_turn
from convslim.measure.watch import Watch


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        name, runtime: What was measured, and what ran it.
        latency: Milliseconds a call.
        speedup: Median of the baseline at this batch size / own median; None where the baseline was not measured.
        speedup_p10: The same of the 10th percentiles, which other work on the machine disturbs least.
    """

    name: str
    runtime: str
    latency: Latency
    speedup: float | None
    speedup_p10: float | None


@dataclass(frozen=True)
class Skipped:
    """A measurement that could not be made, and why."""

    name: str
    runtime: str
    batch: int
    reason: str


@dataclass(frozen=True)
class Bench:
    """What was measured, on what.

    Attributes:
        rows: By batch size, then in the order given.
        skipped: What could not be measured.
        baseline: Name and runtime that the speed-ups refer to.
        cpu, cores, load: The machine, and how busy it was before.
        notes: Doubts about the numbers.
    """

    rows: tuple[Row, ...]
    skipped: tuple[Skipped, ...]
    baseline: tuple[str, str]
    cpu: str
    cores: int
    load: float | None
    notes: tuple[str, ...]


def bench(
    subjects: Sequence[Subject],
    *,
    batches: Sequence[int] = (1,),
    threads: int = 1,
    repeats: int = 100,
    warmup: int = 10,
    baseline: str | None = None,
    clock: Clock = time.perf_counter,
    watch: Watch | None = None,
) -> Bench:
    """Time subjects in turn, one batch size after the other.

    Args:
        threads: What the subjects run with, for the record.
        repeats: Timed calls of each, after `warmup` untimed ones.
        baseline: Name of the subject that speed-ups refer to; the first one is taken otherwise.
        watch: Told, for every batch size anew, how many turns are over.

    Raises:
        ArtifactError: There is no such baseline, or nothing could be measured.

    >>> fast = Subject("fast", "none", lambda batch: lambda: None)
    >>> found = bench([fast], repeats=3)
    >>> found.rows[0].speedup, found.rows[0].latency.repeats, found.skipped
    (1.0, 3, ())
    """
    names = [subject.name for subject in subjects]
    if baseline is not None and baseline not in names:
        raise ArtifactError(
            f"The baseline '{baseline}' is not among what is measured: {', '.join(names)}.{nearest(baseline, names)}"
        )
    base = subjects[names.index(baseline)] if baseline is not None else subjects[0]
    average, cores = load(), os.cpu_count() or 1
    rows: list[Row] = []
    skipped: list[Skipped] = []
    for batch in batches:
        calls = dict(_prepared(subjects, batch, skipped))
        times = time_in_turn(calls, repeats=repeats, warmup=warmup, clock=clock, watch=watch)
        found = {key: summary(values, batch, threads) for key, values in times.items()}
        rows += [_row(key, latency, found.get((base.name, base.runtime))) for key, latency in found.items()]
    if not rows:
        raise ArtifactError(f"Nothing could be measured: {skipped[0].reason if skipped else 'no batch size is given'}")
    notes = tuple(note for note in (busy_note(average, cores), _noise(rows)) if note is not None)
    return Bench(tuple(rows), tuple(skipped), (base.name, base.runtime), cpu_name(), cores, average, notes)


def _prepared(
    subjects: Sequence[Subject], batch: int, skipped: list[Skipped]
) -> Iterator[tuple[tuple[str, str], Call]]:
    """Calls that work, by name and runtime; the others are added to ``skipped``."""
    for subject in subjects:
        try:
            call = subject.prepare(batch)
            call()
        except Exception as error:  # whatever a runtime or a user's network raises
            reason = str(error) if isinstance(error, ArtifactError) else f"{type(error).__name__}: {error}"
            skipped.append(Skipped(subject.name, subject.runtime, batch, reason))
        else:
            yield (subject.name, subject.runtime), call


def _row(key: tuple[str, str], latency: Latency, base: Latency | None) -> Row:
    if base is None:
        return Row(*key, latency, None, None)
    return Row(*key, latency, base.median_ms / latency.median_ms, base.p10_ms / latency.p10_ms)


def _noise(rows: Sequence[Row]) -> str | None:
    noisy = [row for row in rows if row.latency.spread > NOISY]
    if not noisy:
        return None
    worst = max(noisy, key=lambda row: row.latency.spread)
    return (
        f"{len(noisy)} of {len(rows)} measurements are noisy: the 10th and 90th percentiles differ by up to "
        f"{worst.latency.spread:.0%} of the median ({worst.name}, {worst.runtime}, batch {worst.latency.batch}). "
        "Measure again with more repeats on a quiet machine; until then the ratios of the 10th percentiles are safer."
    )
