"""Measured times for budgets of latency, with a progress bar; and what became of the budget, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from convslim.allocate import Promise, Timing
from convslim.allocate.budget import asks_for_latency
from convslim.channels.graph import ChannelGraph
from convslim.errors import BudgetError
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
    """

    budget: Mapping[str, float]
    threads: int = 1
    batch: int = 1
    quiet: bool = False

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
            return timing(graph, model, example, threads=self.threads, batch=self.batch, on_start=on_start)


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[int], Callable[[], object]]]:
    """A progress bar that appears when the number of measurements is known."""
    with ExitStack() as stack:

        def start(total: int) -> Callable[[], object]:
            advance = stack.enter_context(progress("measure layers", total, quiet=quiet))
            return lambda: advance("")

        yield start


def promise_facts(promise: Promise | None) -> dict[str, Any] | None:
    """A promise as JSON values."""
    return None if promise is None else {**asdict(promise), "kept": promise.kept}


def promise_line(promise: Mapping[str, Any]) -> str:
    """A promise in words.

    >>> from convslim.allocate import Measured
    >>> promise = Promise(3.0, 6.0, 2.9, 2.9, 2.95, Measured(2.95, 6.1), 0.983, 0, "ONNX Runtime, 1 thread, batch 1")
    >>> promise_line(promise_facts(promise))
    'latency    6.1 → 2.95 ms (48.4 %), asked for 3 ms, expected 2.9 ms; ONNX Runtime, 1 thread, batch 1'
    """
    expected = f"asked for {promise['asked_ms']:.3g} ms, expected {promise['predicted_ms']:.3g} ms"
    if promise["measured"] is None:
        return f"latency    {expected}; {promise['setting']}"
    after, before = promise["measured"]
    return f"latency    {before:.3g} → {after:.3g} ms ({100 * after / before:.1f} %), {expected}; {promise['setting']}"
