"""Run by tests: carry a recipe out, and be killed at the beginning of the n-th evaluation of a candidate."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from convslim.pipeline import load_recipe, run
from convslim.search.evaluation_views import ViewEvaluator

evaluate = ViewEvaluator.__call__
evaluated = 0


def evaluate_or_die(self: ViewEvaluator, *arguments: Any, **options: Any) -> Any:
    """Count evaluations; the process dies at the wanted one."""
    global evaluated
    evaluated += 1
    if evaluated == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return evaluate(self, *arguments, **options)


if __name__ == "__main__":
    ViewEvaluator.__call__ = evaluate_or_die  # type: ignore[method-assign]
    run(load_recipe(sys.argv[3]), sys.argv[1], quiet=True)
