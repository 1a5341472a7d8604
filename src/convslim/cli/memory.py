"""How much memory a compression needs."""

from __future__ import annotations

from convslim.data import Split
from convslim.measure.machine import physical_memory
from convslim.surgery.reconstruction.footprint import MEMORY

_BYTES_PER_VALUE = 4 + 1
"""Every image is there as it was read and as the network takes it."""


def memory_note(split: Split) -> str:
    """A warning if the images are likely to need more than the memory of this machine, else an empty string."""
    channels, height, width = split.input_shape
    each = _BYTES_PER_VALUE * channels * height * width
    needed = len(split) * each + MEMORY
    present = physical_memory()
    if present is None or needed < 0.7 * present:
        return ""
    fits = max(1, int((0.7 * present - MEMORY) / each))
    return (
        f"{len(split):,} images of {height}×{width} pixels may need some {needed / 2**30:.0f} GiB with the activations "
        f"of both networks, and this machine has {present / 2**30:.0f}. --num-images {fits:,} would fit."
    )
