"""Generations: the genomes of each are a pure function of the settings and of the generations before it.

So every process that knows the finished generations makes the same next one, and nobody needs to be told: a search
gives the same candidates with one worker or with many, unbroken or resumed.

Operators: tournament or top-ten selection from the survivors (the best ``population`` of all so far), uniform
crossover, Gaussian mutation of each gene with probability ``mutation``. A child whose plan is known mutates again, and
gives way to a random genome if that does not help.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from convslim.allocate.widths import Ints
from convslim.search.candidate import Candidate
from convslim.search.ranking import ranked
from convslim.search.settings import TOP, SearchSettings
from convslim.search.space import Genome, Space

ATTEMPTS: Final = 16
"""How often a child is mutated, and after that drawn, for a plan that is new."""

Forecast = Callable[[Ints], float]
"""The fitness to be expected of kept counts."""


@dataclass(frozen=True, eq=False)
class Draft:
    """A candidate before its evaluation.

    Attributes:
        genome: Evaluation factors, shape ``(num_genes,)``; None for the rows of a sensitivity table.
        counts: Kept channels per group of the graph that it decodes to.
        parents: Names of its parents.
        forecast: Fitness that the sensitivity table forecasts.
    """

    genome: Genome | None
    counts: Ints
    parents: tuple[str, ...] = ()
    forecast: float | None = None


def bred(
    space: Space, settings: SearchSettings, before: Sequence[Sequence[Candidate]], forecast: Forecast | None = None
) -> list[Draft]:
    """The drafts of the next generation, all of them new plans: ``population``, or fewer where the space has no more.

    Args:
        space: What genomes stand for.
        settings: Population, operators and seed.
        before: The finished generations.
        forecast: Pre-screens: of ``settings.forecasts`` children the one with the highest forecast is taken.
    """
    generator = np.random.default_rng([settings.seed, len(before)])
    known = {candidate.key for generation in before for candidate in generation}
    if settings.sampler == "random" or not before:
        starts = [] if before else space.starts()
        return _first(space, settings, starts, known, generator)
    breeder = _Breeder(space, settings, survivors(before, settings), generator)
    drafts: list[Draft] = []
    for _ in range(settings.population):
        children = [child for child in (breeder.child(known) for _ in range(max(settings.forecasts, 1))) if child]
        if not children:
            break
        chosen = children[0] if forecast is None else _best(children, forecast)
        known.add(space.key(chosen.counts))
        drafts.append(chosen)
    return drafts


def survivors(generations: Sequence[Sequence[Candidate]], settings: SearchSettings) -> list[Candidate]:
    """The best of all candidates so far, best first, each plan once."""
    first: dict[str, Candidate] = {}
    for generation in generations:
        for candidate in generation:
            first.setdefault(candidate.key, candidate)
    return ranked(list(first.values()))[: settings.population]


def _first(
    space: Space,
    settings: SearchSettings,
    starts: Sequence[tuple[Genome, Ints]],
    known: set[str],
    generator: np.random.Generator,
) -> list[Draft]:
    """Where a search starts, then what is drawn."""
    drafts: list[Draft] = []
    drawn = [space.random(generator) for _ in range(settings.population + ATTEMPTS)]
    for genome, counts in [*starts, *((genome, space.decode(genome)) for genome in drawn)]:
        key = space.key(counts)
        if key not in known and len(drafts) < settings.population:
            known.add(key)
            drafts.append(Draft(genome, counts))
    return drafts


def _best(children: list[Draft], forecast: Forecast) -> Draft:
    """The child with the highest forecast, the first of equal ones."""
    forecasts = [forecast(child.counts) for child in children]
    place = int(np.argmax(forecasts))
    child = children[place]
    return Draft(child.genome, child.counts, child.parents, forecasts[place])


@dataclass(frozen=True, eq=False)
class _Breeder:
    """Makes children of survivors."""

    space: Space
    settings: SearchSettings
    pool: Sequence[Candidate]
    generator: np.random.Generator

    def child(self, known: set[str]) -> Draft | None:
        """A child whose plan is not known; a random genome where mutations find none, and None where that fails too."""
        first, second = self._parent(), self._parent()
        mask = self.generator.random(len(self.space.genes)) < 0.5
        genome = self._mutated(np.where(mask, self._genome(first), self._genome(second)))
        parents = (first.name,) if first is second else (first.name, second.name)
        for attempt in range(2 * ATTEMPTS):
            counts = self.space.decode(genome)
            if self.space.key(counts) not in known:
                return Draft(genome, counts, parents if attempt < ATTEMPTS else ())
            mutates = attempt < ATTEMPTS - 1
            genome = self._mutated(genome, at_least_one=True) if mutates else self.space.random(self.generator)
        return None

    def _parent(self) -> Candidate:
        size = len(self.pool)
        if self.settings.parents == "top":
            return self.pool[int(self.generator.integers(min(TOP, size)))]
        return self.pool[int(self.generator.integers(size, size=self.settings.tournament).min())]

    def _genome(self, candidate: Candidate) -> Genome:
        return np.array([candidate.genome[gene] for gene in self.space.genes])

    def _mutated(self, genome: Genome, *, at_least_one: bool = False) -> Genome:
        """Each gene changed with probability ``mutation`` by a Gaussian step, within its bounds."""
        low, high = self.space.bounds
        changed = self.generator.random(len(genome)) < self.settings.mutation
        steps = self.generator.normal(0.0, self.settings.step * (high - low), len(genome))
        if at_least_one:
            changed[int(self.generator.integers(len(genome)))] = True
        return np.clip(np.where(changed, genome + steps, genome), low, high)
