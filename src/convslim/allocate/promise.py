"""Promises of latency, checked on the whole network: solve, measure what came out, and correct the expectation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

from convslim.allocate.budget import MS
from convslim.allocate.costs import LATENCY
from convslim.errors import BudgetError
from convslim.measure.latency_model import LatencyModel
from convslim.surgery.plan import PruningPlan

TOLERANCE: Final = 0.05
"""A promise is kept if the measured latency is no farther from it."""

MAX_CORRECTIONS: Final = 2

BOUND: Final = 0.25
"""Share of the time from which layers that cannot get faster are told of."""

NO_FASTER: Final = 0.97
"""A layer with 8 channels that takes this share of its time with 16 is no faster."""


class Measured(NamedTuple):
    """Milliseconds of a pruned network, and of the unpruned one in the same run, without the machine's other work."""

    ms: float
    original_ms: float


@dataclass(frozen=True, eq=False)
class Timing:
    """What :func:`convslim.timing` finds out about a network's latency.

    Attributes:
        model: The expected latency for kept channels.
        original_ms: The measured latency of the unpruned network.
        measure: Measures the network that a plan leaves; None believes the model.
        setting: What was measured with, for records: ``"ONNX Runtime, 1 thread, batch 1"``.
    """

    model: LatencyModel
    original_ms: float
    measure: Callable[[PruningPlan], Measured] | None = None
    setting: str = ""


@dataclass(frozen=True)
class Promise:
    """A latency that was asked for, and what came out.

    Attributes:
        asked_ms: The limit.
        original_ms: The unpruned network, measured before.
        predicted_ms: What the model expected of the plan that was taken, corrections included.
        first_predicted_ms, first_measured: Expectation and measurement of the first plan, before any correction.
        measured: What was measured of the plan; None if nothing was.
        reached: ``measured / asked``, for a fraction both of the same run; 0…1 is within the budget.
        num_corrections: How often the model was corrected.
        setting: What was measured with.
    """

    asked_ms: float
    original_ms: float
    predicted_ms: float
    first_predicted_ms: float
    first_measured: Measured | None = None
    measured: Measured | None = None
    reached: float | None = None
    num_corrections: int = 0
    setting: str = ""

    @property
    def kept(self) -> bool | None:
        """True if the network is not more than 5 % slower than promised; None if it was not measured."""
        return None if self.reached is None else self.reached <= 1 + TOLERANCE

    def to_data(self) -> dict[str, Any]:
        """The promise as JSON values, with whether it was kept."""
        pairs = {"first_measured": self.first_measured, "measured": self.measured}
        found = {name: None if pair is None else pair._asdict() for name, pair in pairs.items()}
        return {**asdict(self), **found, "kept": self.kept}


@dataclass(frozen=True)
class Proposal:
    """A plan with what it is expected to take, what the search counted for it, and the limit.

    The search counts times that never fall with the widths, and knows no slower ones in between.
    """

    plan: PruningPlan
    predicted_ms: float
    counted_ms: float
    limit_ms: float


@dataclass(frozen=True)
class _Trial:
    proposal: Proposal
    measured: Measured
    reached: float


def kept_promise(
    propose: Callable[[LatencyModel], Proposal], timing: Timing, budget: Mapping[str, float]
) -> tuple[Proposal, Promise]:
    """Solve and measure; where the two disagree, let the model expect what was measured, and solve again.

    Args:
        propose: Solves with a model of latency.
        timing: The model to begin with.
        budget: What was asked for.

    Raises:
        BudgetError: If ``propose`` finds beforehand that the budget cannot be reached.
    """
    model = timing.model
    proposal = propose(model)
    first = proposal.predicted_ms
    if timing.measure is None:
        promise = Promise(proposal.limit_ms, timing.original_ms, first, first, setting=timing.setting)
        return proposal, promise
    trials = [_tried(proposal, timing.measure, budget)]
    while not _settled(trials[-1]) and len(trials) <= MAX_CORRECTIONS:
        last = trials[-1]
        model = model.corrected(last.reached * last.proposal.limit_ms / last.proposal.counted_ms)
        try:
            proposal = propose(model)
        except BudgetError:  # with what is known now out of reach: the best that was measured has to do
            break
        if any(trial.proposal.plan == proposal.plan for trial in trials):
            break
        trials.append(_tried(proposal, timing.measure, budget))
    best = min(trials, key=_distance)
    return best.proposal, Promise(
        asked_ms=best.proposal.limit_ms,
        original_ms=timing.original_ms,
        predicted_ms=best.proposal.predicted_ms,
        first_predicted_ms=first,
        first_measured=trials[0].measured,
        measured=best.measured,
        reached=best.reached,
        num_corrections=len(trials) - 1,
        setting=timing.setting,
    )


def _tried(proposal: Proposal, measure: Callable[[PruningPlan], Measured], budget: Mapping[str, float]) -> _Trial:
    measured = measure(proposal.plan)
    reached = []
    if LATENCY in budget:
        reached.append(measured.ms / (measured.original_ms * budget[LATENCY]))
    if MS in budget:
        reached.append(measured.ms / budget[MS])
    return _Trial(proposal, measured, max(reached))


def _settled(trial: _Trial) -> bool:
    """True if the promise is kept, and not by far too much where latency is what binds."""
    binds = trial.proposal.counted_ms >= (1 - TOLERANCE) * trial.proposal.limit_ms
    return trial.reached <= 1 + TOLERANCE and (trial.reached >= 1 - TOLERANCE or not binds)


def _distance(trial: _Trial) -> tuple[bool, float]:
    """Trials that keep the promise first, and of those the one that uses most of it."""
    return trial.reached > 1 + TOLERANCE, abs(1 - trial.reached)


def promise_notes(promise: Promise, model: LatencyModel, round_to: int) -> tuple[str, ...]:
    """What the user should know of a promise: not kept, or a speed-up that will not come."""
    notes = (_broken(promise), _narrow(round_to), _half_blocks(model, round_to), _launch_bound(model))
    return tuple(note for note in notes if note is not None)


def _broken(promise: Promise) -> str | None:
    if promise.measured is None or promise.reached is None or promise.kept:
        return None
    return (
        f"The latency was to be {promise.asked_ms:.4g} ms and was measured as {promise.measured.ms:.4g} ms, "
        f"{promise.reached - 1:.0%} above it (unpruned, in the same run: {promise.measured.original_ms:.4g} ms). "
        "Measure again when the machine has no other work, raise the budget, or let narrower widths be taken."
    )


def _narrow(round_to: int) -> str | None:
    if round_to % 8 == 0:
        return None
    return (
        f"round_to={round_to} allows widths that are no multiples of 8; a runtime takes as long for them as for the "
        "next multiple, or longer. Use round_to=8 or 16 where time counts."
    )


def _half_blocks(model: LatencyModel, round_to: int) -> str | None:
    """Whether 8 channels are no faster than 16, as in integer kernels, where widths of 8 may be taken."""
    ratios = model.layers.one_cell()
    slow = int((ratios >= NO_FASTER).sum())
    if round_to % 16 == 0 or 2 * slow < max(len(ratios), 1):
        return None
    return (
        f"{slow} of {len(ratios)} layers take as long with 8 channels as with 16, or longer, in these kernels. "
        f"round_to={round_to} costs accuracy there and saves no time; round_to=16 leaves them whole blocks."
    )


def _launch_bound(model: LatencyModel) -> str | None:
    """Layers that take their time however narrow they are, if that is much of the whole."""
    flat = model.flat_layers()
    times = model.layers.by_layer(model.layers.sizes)
    names = set(flat)
    bound = sum(float(ms) for layer, ms in zip(model.layers.layers, times, strict=True) if layer.module in names)
    share = model.scale * bound / max(float(model.evaluate(model.layers.sizes)), 1e-12)
    if share < BOUND:
        return None
    examples = ", ".join(flat[:3]) + (", …" if len(flat) > 3 else "")
    return (
        f"{len(flat)} of {len(model.layers.layers)} layers ({examples}) take {share:.0%} of the latency, and hardly "
        "less of it with fewer channels: starting a kernel costs time, and it works on whole blocks of channels. Whole "
        "layers would have to go."
    )
