"""What became of a budget of latency, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def promise_line(promise: Mapping[str, Any]) -> str:
    """A promise, as `Promise.to_data` gives it, in one line.

    >>> from convslim.allocate import Measured, Promise
    >>> promise = Promise(3.0, 6.0, 2.9, 2.9, None, Measured(2.95, 6.1), 0.983, 0, "ONNX Runtime, 1 thread, batch 1")
    >>> promise_line(promise.to_data())
    'latency    6.1 → 2.95 ms (48.4 %), asked for 3 ms, expected 2.9 ms; ONNX Runtime, 1 thread, batch 1'
    """
    asked = f"asked for {promise['asked_ms']:.3g} ms, expected {promise['predicted_ms']:.3g} ms; {promise['setting']}"
    if promise["measured"] is None:
        return f"latency    {asked}"
    after, before = promise["measured"]["ms"], promise["measured"]["original_ms"]
    return f"latency    {before:.3g} → {after:.3g} ms ({100 * after / before:.1f} %), {asked}"
