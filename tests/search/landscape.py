"""A search whose best plan is known: an evaluator that only looks at widths."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import optuna
import torch
from torch import nn

import convslim
from convslim.channels.graph import ChannelGraph
from convslim.criteria.scores import Scores
from convslim.measure.cost import CostModel
from convslim.search.evaluation import Evaluation
from convslim.search.ledger import Ledger
from convslim.search.objective import Objective
from convslim.search.run import Search
from convslim.search.settings import SearchSettings
from convslim.search.space import Space, search_space
from convslim.search.storage import open_storage
from convslim.search.study import identity, open_study
from convslim.surgery.plan import PruningPlan

TARGET = (20, 44, 13, 31)
"""The widths that are best; the budget is what they cost."""

IMAGES = 10_000


def network() -> tuple[nn.Module, ChannelGraph, Scores]:
    """Four convolutions of 48 channels, and one that reads them; scores rise with the channel's index."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for number in range(4):
        layers += [nn.Conv2d(3 if number == 0 else 48, 48, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Conv2d(48, 4, 1)).eval()
    graph = convslim.trace(model, torch.zeros(1, 3, 8, 8))
    values = {group.name: np.linspace(0.1, 2.0, 48) for group in graph.prunable}
    return model, graph, Scores("test", graph.structure, values)


@dataclass
class Landscape:
    """Fewer images are right the farther the widths are from the target; every call is noted."""

    target: tuple[int, ...] = TARGET
    sleep: float = 0.0
    seen: list[str] = field(default_factory=list)

    def __call__(self, plan: PruningPlan, *, hopeless_below: float | None = None) -> Evaluation:
        time.sleep(self.sleep)
        widths = [len(kept) for name, kept in plan.kept.items() if name != "8"]
        self.seen.append(str(widths))
        distance = sum(abs(width - wanted) / 48 for width, wanted in zip(widths, self.target, strict=True))
        share = 1 - distance / 4
        if hopeless_below is not None and share < hopeless_below:
            return Evaluation(int(share * IMAGES / 10), IMAGES // 10, False, 0.0)
        return Evaluation(int(share * IMAGES), IMAGES, True, 0.0)


def space(budget: dict[str, float] | None = None, **options: object) -> Space:
    """All widths of the network, within the MACs of the target."""
    _, graph, scores = network()
    if budget is None:
        budget = {"macs": CostModel(graph).macs(dict(zip(("0", "2", "4", "6"), TARGET, strict=True)))}
    return search_space(graph, scores, budget, **{"round_to": 1, **options})  # type: ignore[arg-type]


def search(
    storage: str | Path | None,
    evaluator: Landscape,
    settings: SearchSettings,
    *,
    searched: Space | None = None,
    kind: str = "accuracy",
    lock_timeout: float = 60.0,
    **options: object,
) -> Search:
    """A search of the landscape in a storage; None keeps it in memory, for long ones."""
    searched = searched or space()
    objective = Objective(kind, searched.cost(searched.whole()), weight=0.2 if kind == "adjustable" else 0.0)  # type: ignore[arg-type]
    found = identity(searched, settings, objective, {})
    opened = optuna.storages.InMemoryStorage() if storage is None else open_storage(storage, lock_timeout=lock_timeout)
    study = open_study(opened, "landscape", found, objective.num_values, str(storage))
    return Search(searched, objective, settings, evaluator, Ledger(study, searched, str(storage)), **options)  # type: ignore[arg-type]
