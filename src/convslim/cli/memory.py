"""How much memory a compression needs."""

from __future__ import annotations

from convslim.data import Split
from convslim.measure.machine import physical_memory

_BYTES_PER_PIXEL = 320
"""All images stand at one layer of both networks at a time: some 15 MiB for each of 224×224 pixels (ResNet-50)."""


def memory_note(split: Split) -> str:
    """A warning if the images are likely to need more than the memory of this machine, else an empty string."""
    _, height, width = split.input_shape
    each = _BYTES_PER_PIXEL * height * width
    present = physical_memory()
    if present is None or len(split) * each < 0.7 * present:
        return ""
    fits = max(1, int(0.5 * present / each))
    return (
        f"{len(split):,} images of {height}×{width} pixels may need some {len(split) * each / 2**30:.0f} GiB, and this "
        f"machine has {present / 2**30:.0f}. --num-images {fits:,} would need half of its memory."
    )
