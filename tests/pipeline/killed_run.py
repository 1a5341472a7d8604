"""Run by tests: carry the tiny recipe out, or another, and be killed when a file is flushed for the n-th time."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from convslim.pipeline import load_recipe, run

flush = os.fsync
flushed = 0


def fsync_or_die(descriptor: Any) -> None:
    """Count flushes; the process dies at the wanted one, before the file takes its final name."""
    global flushed
    flushed += 1
    if flushed == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    flush(descriptor)


if __name__ == "__main__":
    vars(os)["fsync"] = fsync_or_die
    recipe = sys.argv[3] if len(sys.argv) > 3 else Path(__file__).with_name("tiny.yaml")
    run(load_recipe(recipe), sys.argv[1], quiet=True)
    sys.stdout.write(f"{flushed} flushes\n")
