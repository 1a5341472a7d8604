"""How much memory a compression needs, and how much it took."""

from __future__ import annotations

import os
import sys

from convslim.data import Split

_BYTES_PER_PIXEL = 320
"""All images stand at one layer of both networks at a time: some 15 MiB for each of 224×224 pixels (ResNet-50)."""


def peak_memory() -> int | None:
    """Most bytes that this process had in memory since its start; None where the system does not say."""
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def memory_note(split: Split) -> str:
    """A warning if the images are likely to need more than the memory of this machine, else an empty string."""
    _, height, width = split.input_shape
    each = _BYTES_PER_PIXEL * height * width
    present = _physical_memory()
    if present is None or len(split) * each < 0.7 * present:
        return ""
    fits = max(1, int(0.5 * present / each))
    return (
        f"{len(split):,} images of {height}×{width} pixels may need some {len(split) * each / 2**30:.0f} GiB, and this "
        f"machine has {present / 2**30:.0f}. --num-images {fits:,} would need half of its memory."
    )


def _physical_memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None
