"""Tools that the tests run in a process of their own."""

import os
import time

from torch import nn

from convslim.conformance import Answer, Task, Tool


def refusing() -> Tool:
    return lambda model, task: Answer(None, refused={"": "too hard"})


def deadly() -> Tool:
    """Ends the interpreter on one case, sleeps on another."""

    def prune(model: nn.Module, task: Task) -> Answer:
        names = [name for name, _ in model.named_children()]
        if "down" in names:
            os._exit(3)
        if names == ["a", "b", "c", "head"]:
            time.sleep(600)
        return Answer(None, refused={"": "too hard"})

    return prune
