"""The machine that a time was measured on: what it must be called by, and whether it has other work."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

BUSY = 0.75
"""Load per core from which a machine counts as busy: measuring itself keeps one core at work."""


@dataclass(frozen=True)
class Identity:
    """What a time depends on beside the network: times of another identity say nothing here.

    Attributes:
        cpu: The processor's name.
        cores: Logical cores.
        runtime: Name and version of what ran the network.
        threads: Threads that it was given.
    """

    cpu: str
    cores: int
    runtime: str
    threads: int

    @classmethod
    def here(cls, threads: int = 1) -> Identity:
        """This machine with the ONNX Runtime that is installed."""
        import onnxruntime  # heavy, and not needed to name the machine

        return cls(cpu_name(), os.cpu_count() or 1, f"onnxruntime {onnxruntime.__version__}", threads)


def cpu_name() -> str:
    """The processor's name; Linux tells it only in /proc/cpuinfo."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def load() -> float | None:
    """Processes that want to run, averaged over the last minute; None where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has no such function
        return None


def busy_note(average: float | None, cores: int) -> str | None:
    """A sentence if the machine has other work than measuring.

    >>> busy_note(3.9, 2)
    'The machine is busy: load 3.9 on 2 cores. Times are too long and vary; ratios within one run are safer.'
    >>> busy_note(0.5, 2) is None
    True
    """
    if average is None or average <= max(BUSY * cores, 1.0):
        return None
    return (
        f"The machine is busy: load {average:.1f} on {cores} cores. Times are too long and vary; ratios within one "
        "run are safer."
    )


def peak_memory() -> int | None:
    """Most bytes that this process had in memory since its start; None where the system does not say."""
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def physical_memory() -> int | None:
    """Bytes of memory that the machine has; None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None
