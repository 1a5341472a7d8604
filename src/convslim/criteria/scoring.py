"""Scoring a whole model: the table of criteria, gradients for those that need them, and the checks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from convslim.channels.graph import ChannelGraph, ChannelGroup
from convslim.channels.program.layers import CONSTANTS
from convslim.channels.tape import named_tensors
from convslim.criteria import reconstruction
from convslim.criteria.bn_scale import bn_scale
from convslim.criteria.criterion import Criterion
from convslim.criteria.fpgm import fpgm
from convslim.criteria.gradients import Loss, gradients
from convslim.criteria.l1 import l1
from convslim.criteria.l2 import l2
from convslim.criteria.normalized import normalized
from convslim.criteria.random import random
from convslim.criteria.scores import Scores
from convslim.criteria.taylor import taylor
from convslim.errors import DataError, ModelError, PlanError, nearest

CRITERIA: Final[Mapping[str, Criterion]] = {
    "bn_scale": bn_scale(),
    "l1": normalized(l1()),
    "l2": normalized(l2()),
    "fpgm": normalized(fpgm()),
    "taylor": taylor(),
    "random": random(),
}
"""The criteria by the names that recipes use, in a form that ranks channels across layers."""

NAMES: Final = (*CRITERIA, reconstruction.NAME)
"""All names that :func:`score` knows: one more looks at all layers at once."""


def score(
    graph: ChannelGraph,
    model: nn.Module,
    criterion: str | Criterion,
    *,
    batches: Iterable[tuple[Any, Any]] | None = None,
    loss: Loss | None = None,
    seed: int = 0,
) -> Scores:
    """Score every channel of every prunable group.

    Args:
        graph: The model's channel graph.
        model: The model, left as found; gradients are computed in evaluation mode, and frozen parameters have
            them too.
        criterion: A name from :data:`NAMES`, or a criterion of your own.
        batches: Pairs (inputs, targets) for criteria that need gradients, on the model's device;
            ``"reconstruction"`` looks at the inputs only. Inputs are a
            tensor, a tuple of positional or a dict of keyword arguments. The scores are the mean over
            batches.
        loss: ``loss(outputs, targets) -> scalar``; cross-entropy unless given.
        seed: Fixes criteria that draw random numbers.

    Raises:
        PlanError: If there is no such criterion, or the graph is not this model's.
        DataError: If the criterion needs gradients and there are no batches.
        ModelError: If nothing can be scored, or the scores are not finite.

    >>> from convslim.channels.trace import trace
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    >>> _ = net[1].weight.data.copy_(torch.tensor([0.5, -2.0, 1.0, 0.25]))
    >>> score(trace(net, torch.zeros(1, 1, 8, 8)), net, "bn_scale").values["0"]
    array([0.5 , 2.  , 1.  , 0.25])
    """
    tensors = named_tensors(model)
    if criterion == reconstruction.NAME:
        _check_model(graph, tensors)
        return reconstruction.error_curves(graph, model, [inputs for inputs, _ in batches or ()]).scores()
    chosen = _find(criterion)
    _check_model(graph, tensors)
    if chosen.needs_gradients:
        per_batch = gradients(model, batches or (), loss or nn.functional.cross_entropy)
        parts = [_score_groups(graph, chosen, tensors, batch, seed) for batch in per_batch]
    else:
        parts = [_score_groups(graph, chosen, tensors, None, seed)]
    if not parts:
        raise DataError(
            f"Criterion {chosen.name!r} needs gradients, and no batch was given; "
            "pass batches=[(inputs, targets), ...], a few hundred training samples in all."
        )
    values = {name: np.stack([part[name] for part in parts]).mean(0) for name in parts[0]}
    unscored = tuple(group.name for group in graph.prunable if group.name not in values)
    if unscored and not values:
        raise ModelError(
            f"Criterion {chosen.name!r} can score none of the {len(unscored)} prunable groups, "
            f"for example {unscored[0]!r}; use one that looks at the filters, such as 'l1'."
        )
    return Scores(chosen.name, graph.structure, values, unscored)


def _find(criterion: str | Criterion) -> Criterion:
    if isinstance(criterion, Criterion):
        return criterion
    if criterion not in CRITERIA:
        raise PlanError(
            f"There is no criterion {criterion!r}; known are {', '.join(NAMES)}.{nearest(criterion, NAMES)}"
        )
    return CRITERIA[criterion]


def _check_model(graph: ChannelGraph, tensors: Mapping[str, Tensor]) -> None:
    for name, shape in graph.tensors.items():
        if name.partition(".")[0] == CONSTANTS and graph.way == "graph":
            continue  # tensors that the model's code makes; only its graph holds them
        found = tuple(tensors[name].shape) if name in tensors else None
        if found != tuple(shape):
            raise PlanError(
                f"The graph is not this model's: {name!r} has the shape {tuple(shape)} in the graph and "
                f"{found or 'does not exist'} in the model. Trace the model again."
            )


def _score_groups(
    graph: ChannelGraph,
    criterion: Criterion,
    tensors: Mapping[str, Tensor],
    batch: Mapping[str, Tensor] | None,
    seed: int,
) -> dict[str, npt.NDArray[np.float64]]:
    values = {}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for group in graph.prunable:
            torch.default_generator.manual_seed(_seed_of(seed, group.name))
            scores = criterion.function(group, tensors, batch)
            if scores is not None:
                values[group.name] = _checked(scores, group, criterion)
    return values


def _seed_of(seed: int, name: str) -> int:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _checked(scores: Tensor, group: ChannelGroup, criterion: Criterion) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = scores.detach().cpu().double().numpy()
    if values.shape != (group.num_channels,):
        raise ModelError(
            f"Criterion {criterion.name!r} gave group {group.name!r} scores of shape {values.shape}; "
            f"one per channel is wanted, ({group.num_channels},)."
        )
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise ModelError(
            f"Criterion {criterion.name!r} gave channel {wrong[0]} of group {group.name!r} the score "
            f"{values[wrong[0]]}, and scores must be finite. Look for NaN or infinite values in the weights "
            f"of {', '.join(group.producers) or 'the model'}, or in the loss."
        )
    return values
