"""Budgets of latency in step `search`: times that all workers share, and a result that is measured as a whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from convslim.allocate import Timing
from convslim.allocate.budget import asks_for_latency
from convslim.allocate.costs import LATENCY, NS_PER_MS
from convslim.allocate.promise import Promise, Proposal, kept_promise, promise_notes
from convslim.allocate.widths import Ints
from convslim.channels.graph import ChannelGraph
from convslim.errors import ArtifactError, BudgetError
from convslim.files import replace_text
from convslim.measure.latency_model import LatencyModel
from convslim.measure.layer_shape import LayerShape
from convslim.measure.layer_times import LayerTimes
from convslim.measure.timed_layer import timed_layers
from convslim.pipeline.state import Context, State
from convslim.pipeline.timer import Timer
from convslim.search.candidate import Candidate
from convslim.search.ranking import ranked
from convslim.search.result import SearchResult
from convslim.search.run import Search
from convslim.search.settings import TOP
from convslim.search.space import Space

TIMES: Final = "times.json"
"""File of the measured times, in the step's folder."""


def shared_times(timer: Timer, graph: ChannelGraph, state: State, context: Context) -> Timing | None:
    """What is known of the network's latency, the same in every process of a search, also in a resumed one.

    The run measures once and keeps it in the step's folder: with times of their own, processes would search in
    different spaces.

    Raises:
        ArtifactError: The file is damaged.
        BudgetError: The network does not take images only.
    """
    file = context.work / TIMES
    if not asks_for_latency(timer.budget):
        return None
    if not file.exists():
        fresh = timer(graph, state.model, context.example_input)
        assert fresh is not None, "latency was asked for"
        if context.primary:
            file.parent.mkdir(parents=True, exist_ok=True)
            replace_text(file, json.dumps(_to_data(fresh)) + "\n")
        return fresh
    known = _from_data(file, graph, timer.batch)
    if not context.primary:
        return known  # a worker evaluates, and measures no times
    again = timer(graph, state.model, context.example_input)
    assert again is not None, "latency was asked for"
    return replace(known, measure=again.measure)


def _to_data(timing: Timing) -> dict[str, Any]:
    model = timing.model
    shapes = [{"shape": shape.to_data(), "ms": ms} for shape, ms in model.layers.by_shape.items()]
    numbers = {"original_ms": timing.original_ms, "scale": model.scale, "rest_ms": model.rest_ms}
    return {**numbers, "setting": timing.setting, "layers": shapes}


def _from_data(file: Path, graph: ChannelGraph, batch: int) -> Timing:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        known = {LayerShape.from_data(entry["shape"]): float(entry["ms"]) for entry in data["layers"]}
        sizes = np.array([group.num_channels for group in graph.groups], np.int64)
        layers = LayerTimes(timed_layers(graph, batch), sizes, lambda shapes: {shape: known[shape] for shape in shapes})
        model = LatencyModel(layers, float(data["scale"]), float(data["rest_ms"]))
        return Timing(model, float(data["original_ms"]), setting=str(data["setting"]))
    except (OSError, ValueError, TypeError, KeyError, AssertionError) as error:
        raise ArtifactError(
            f"{file}, the measured times of the search, is damaged: {type(error).__name__}: {error}. Put a copy back; "
            f"or remove the folder {file.parent} and --resume to search anew."
        ) from error


@dataclass(frozen=True, eq=False)
class Taken:
    """What is cut.

    Attributes:
        counts: Kept channels per group of the graph.
        promise: The latency that was asked for, expected and measured; None without such a budget.
        notes: What the user should know of it.
        corrected: Candidates that were evaluated anew because the measured latency was not the expected one.
    """

    counts: Ints
    promise: Promise | None = None
    notes: tuple[str, ...] = ()
    corrected: tuple[dict[str, Any], ...] = ()


def taken(search: Search, result: SearchResult, timing: Timing | None, budget: Mapping[str, float]) -> Taken:
    """The best candidate; with a budget of latency, measured, and corrected where it is not what was promised.

    Where the whole network is more than 5 % off, the expectation is corrected by what was measured; the ten best
    genomes are decoded again under it and evaluated, and the best of them is measured, at most twice.
    """
    if timing is None:
        return Taken(result.counts)
    correction = _Correction(search, result)

    def propose(model: LatencyModel) -> Proposal:
        space = search.space.timed(model)
        counts = result.counts if model is timing.model else correction.best(space)
        place = space.costs.metrics.index(LATENCY)
        counted = float(space.costs.evaluate(counts)[place]) / NS_PER_MS
        limit = float(space.limits[place]) / NS_PER_MS
        return Proposal(space.plan(counts), float(space.costs.expected_ms(counts)), counted, limit)

    proposal, promise = kept_promise(propose, timing, budget)
    kept = proposal.plan.kept
    counts = np.array([len(kept[name]) for name in search.space.costs.names], np.int64)
    notes = promise_notes(promise, timing.model, search.space.rounding.round_to)
    return Taken(counts, promise, notes, tuple(correction.evaluated))


@dataclass(frozen=True, eq=False)
class _Correction:
    """Finds the best candidate under another expectation of latency."""

    search: Search
    result: SearchResult
    evaluated: list[dict[str, Any]] = field(default_factory=list)

    def best(self, space: Space) -> Ints:
        """Kept counts of the best candidate within the budget.

        Raises:
            BudgetError: No candidate is within it.
        """
        if not space.repair:
            return self._within(space)
        found: dict[str, tuple[float, Ints]] = {}
        for candidate in [each for each in ranked(self.result.candidates) if each.complete][:TOP]:
            genome = np.array([candidate.genome[gene] for gene in space.genes])
            counts = space.decode(genome)
            if space.key(counts) not in found:
                found[space.key(counts)] = (self._fitness(space, candidate, counts), counts)
        return max(found.values(), key=lambda pair: pair[0])[1]

    def _fitness(self, space: Space, candidate: Candidate, counts: Ints) -> float:
        judged, costs = self.search.evaluator(space.plan(counts)), space.cost(counts)
        fitness = self.search.objective.values(judged.measured, costs)[0]
        told = {"of": candidate.name, "widths": list(space.widths(counts)), "costs": costs, "fitness": fitness}
        self.evaluated.append({**told, **judged.outcome()})
        return fitness

    def _within(self, space: Space) -> Ints:
        """Of candidates that nothing was repaired in, the most accurate one."""
        complete = [each for each in self.result.candidates if each.complete]
        within = [each for each in complete if space.within(space.counts(each.widths))]
        if not within:
            raise BudgetError("No candidate of the search is within the budget, as latency is expected now.")
        return space.counts(max(within, key=lambda each: each.fitness).widths)
