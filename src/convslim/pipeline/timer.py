"""Measured times for budgets of latency, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from convslim.allocate import Timing
from convslim.allocate.budget import asks_for_latency
from convslim.channels.graph import ChannelGraph
from convslim.errors import BudgetError
from convslim.export.arithmetic import Mode
from convslim.export.timing import timing
from convslim.train.progress import progress


@dataclass(frozen=True)
class Timer:
    """How a budget of latency is measured.

    Attributes:
        budget: What was asked for; without latency in it nothing is measured.
        threads: Threads of the runtime.
        batch: Images a call.
        quiet: Draw no progress bar.
        arithmetic: Float32, or the integers of an int8 file.
    """

    budget: Mapping[str, float]
    threads: int = 1
    batch: int = 1
    quiet: bool = False
    arithmetic: Mode = "float32"

    def __call__(self, graph: ChannelGraph, model: nn.Module, example: Any) -> Timing | None:
        """Measure the network if the budget needs it.

        Raises:
            BudgetError: the network does not take images only.
        """
        if not asks_for_latency(self.budget):
            return None
        if not isinstance(example, Tensor):
            raise BudgetError("A budget of latency needs a network whose input is one tensor of images.")
        with _bar(self.quiet) as on_start:
            return timing(
                graph,
                model,
                example,
                threads=self.threads,
                batch=self.batch,
                arithmetic=self.arithmetic,
                on_start=on_start,
            )


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[int], Callable[[], object]]]:
    """A progress bar that appears when the number of measurements is known."""
    with ExitStack() as stack:

        def start(total: int) -> Callable[[], object]:
            advance = stack.enter_context(progress("measure layers", total, quiet=quiet))
            return lambda: advance("")

        yield start
