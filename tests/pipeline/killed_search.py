"""Run by tests: a command of convslim that is killed at the beginning of its n-th evaluation of a candidate (0: never).

    python killed_search.py N FOLDER [command and options of convslim]

Processes that share a folder begin their first evaluation when there are three of them, and those that live wait for
the death of the other, however slow it is; ``-`` waits for nobody.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from convslim.cli import app
from convslim.search.evaluation_views import ViewEvaluator

TOGETHER = 3
evaluate = ViewEvaluator.__call__
evaluated = 0


def evaluate_or_die(self: ViewEvaluator, *arguments: Any, **options: Any) -> Any:
    """Count evaluations; the process dies at the wanted one."""
    global evaluated
    evaluated += 1
    death, meeting = int(sys.argv[1]), sys.argv[2]
    if evaluated == 1 and meeting != "-":
        meet(Path(meeting), together=TOGETHER + (death == 0))
    if evaluated == death:
        if meeting != "-":
            Path(meeting, "dead").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return evaluate(self, *arguments, **options)


def meet(folder: Path, together: int) -> None:
    """Wait for the files of the others."""
    (folder / str(os.getpid())).touch()
    until = time.monotonic() + 120
    while len(list(folder.iterdir())) < together and time.monotonic() < until:
        time.sleep(0.02)


if __name__ == "__main__":
    ViewEvaluator.__call__ = evaluate_or_die  # type: ignore[method-assign]
    app(sys.argv[3:])
